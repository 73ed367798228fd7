"""Recurrent layers lose hidden units: the rows of all gates, in every layer and direction."""

import pytest
import torch
from tests.masked_by_hand import prunes_right
from torch import nn

import infoprune as ip
from infoprune.graph import Graph


class Tagger(nn.Module):
    def __init__(self, kind, **options):
        super().__init__()
        self.embed = nn.Linear(6, 10)
        self.rnn = getattr(nn, kind)(10, 12, batch_first=True, **options)
        wide = (options.get("proj_size") or 12) * (2 if options.get("bidirectional") else 1)
        self.norm, self.out = nn.Linear(wide, 8), nn.Linear(8, 3)

    def forward(self, x):
        y, _ = self.rnn(torch.tanh(self.embed(x)))
        return self.out(torch.relu(self.norm(y)))


class LastState(Tagger):
    def forward(self, x):
        _, state = self.rnn(torch.tanh(self.embed(x)))
        state = state[0] if isinstance(state, tuple) else state
        return self.out(torch.relu(self.norm(state[-1])))


class Stepped(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.cell, self.out, self.width = getattr(nn, kind)(6, 12), nn.Linear(12, 3), 12

    def forward(self, x):
        state = None
        for step in range(x.size(1)):
            state = self.cell(x[:, step], state)
        return self.out(state[0] if isinstance(state, tuple) else state)


class GivenState(Tagger):
    """The state begins as zeros of a width that the module names."""

    def __init__(self, kind):
        super().__init__(kind)
        self.hidden = 12

    def forward(self, x):
        zeros = torch.zeros(1, x.size(0), self.hidden, dtype=x.dtype)
        y, _ = self.rnn(torch.tanh(self.embed(x)), (zeros, zeros.clone()) if isinstance(self.rnn, nn.LSTM) else zeros)
        y = y.reshape(-1, self.hidden).view(x.size(0), -1, self.hidden)
        return self.out(torch.relu(self.norm(y)))


WAYS = {
    "one layer": {},
    "two layers": {"num_layers": 2},
    "both directions": {"bidirectional": True},
    "two layers both ways": {"num_layers": 2, "bidirectional": True, "bias": False},
}


def words(*shape):
    return torch.randn(*shape, 6)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_hidden_units_leave_from_all_gates_layers_and_directions(kind, way):
    net = Tagger(kind, **WAYS[way]).eval()
    plan = prunes_right(net, words(2, 5), words(1, 9))
    assert {edit.site.name: edit.site.size for edit in plan.edits} == {"embed": 10, "rnn.weight_ih_l0": 12, "norm": 8}
    pruned = ip.prune_(net, words(2, 5), plan)
    assert (pruned.rnn.input_size, pruned.rnn.hidden_size) == (5, 6)
    assert all(a is b for a, b in zip(pruned.rnn._flat_weights, pruned.rnn.parameters(), strict=True))
    pruned.train()(words(3, 4)).sum().backward()


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_the_last_state_is_followed(kind):
    assert "rnn.weight_ih_l0" in prunes_right(LastState(kind, num_layers=2), words(2, 5), words(3, 4)).widths


@pytest.mark.parametrize("kind", ["LSTMCell", "GRUCell", "RNNCell"])
def test_cells_lose_hidden_units(kind):
    net = Stepped(kind).eval()
    plan = prunes_right(net, words(2, 5), words(1, 3))
    assert list(plan.widths.values()) == [6]
    assert ip.prune_(net, words(2, 5), plan).cell.hidden_size == 6


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_the_module_s_own_name_of_the_width_follows(kind):
    net = GivenState(kind).eval()
    plan = prunes_right(net, words(2, 5), words(1, 3))
    assert ip.prune_(net, words(2, 5), plan).hidden == 6


@pytest.mark.filterwarnings("ignore:LSTM with projections")
def test_projections_shrink_too():
    plan = prunes_right(Tagger("LSTM", proj_size=4, num_layers=2), words(2, 5), words(1, 3))
    assert sorted(plan.widths.values()) == [2, 4, 5, 6]


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_packed_sequences_are_followed(kind):
    class Packed(Tagger):
        def forward(self, x, lengths):
            rows = nn.utils.rnn.pack_padded_sequence(torch.tanh(self.embed(x)), lengths, batch_first=True)
            y, _ = nn.utils.rnn.pad_packed_sequence(self.rnn(rows)[0], batch_first=True)
            return self.out(torch.relu(self.norm(y)))

    calls = (words(3, 5), torch.tensor([5, 3, 2])), (words(2, 4), torch.tensor([4, 1]))
    assert "rnn.weight_ih_l0" in prunes_right(Packed(kind, bidirectional=True), *calls).widths


def test_a_recurrent_output_of_the_model_stays_and_what_is_in_front_leaves():
    net = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.LSTM(16, 12, batch_first=True))
    assert list(prunes_right(net, words(2, 5), words(1, 3)).widths) == ["0"]


def test_a_state_that_the_caller_gives_keeps_its_width():
    class Given(Tagger):
        def forward(self, x, h):
            return self.out(torch.relu(self.norm(self.rnn(torch.tanh(self.embed(x)), h)[0])))

    call = words(2, 5), torch.randn(1, 2, 12)
    assert list(prunes_right(Given("GRU"), call).widths) == ["embed", "norm"]


def test_prices_of_recurrent_layers_are_counted_ones_on_the_whole_network():
    net = Tagger("LSTM", num_layers=2, bidirectional=True).eval()
    graph = Graph.trace(net, words(2, 5))
    assert graph.cost("macs")([s.size for s in graph.sites]) == ip.measure(net, words(2, 5)).macs
