"""torch's own attention: its projections are readers, and dimensions of queries and keys make up for each other."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.compensation.tied_nets import compensated, gap, keeping, pictures, tie_
from torch import nn

import infoprune as ip
from infoprune.compensation.attention import put_together, step_by_step, taken_apart

EXACT = 1e-9  # of the largest output, in double precision


class Attending(nn.Module):
    """A stream to which one attention adds; its scores are large enough to matter."""

    def __init__(self, heads=2, dimensions=4, bias=True):
        super().__init__()
        width = heads * dimensions
        self.embed = nn.Linear(6, width)
        self.attention = nn.MultiheadAttention(width, heads, bias=bias, batch_first=True)
        self.head = nn.Linear(width, 3)
        if bias:
            nn.init.normal_(self.attention.in_proj_bias)
        with torch.no_grad():
            self.attention.in_proj_weight.mul_(4)

    def forward(self, x):
        x = self.embed(x)
        x = x + self.attention(x, x, x, need_weights=False)[0]
        return self.head(x).mean(1)


def tied(dense, kept):
    """Dimensions that leave are the same mixture of those that stay, in the stream, in keys and in values."""
    attention, heads = dense.attention, dense.attention.num_heads
    size = attention.head_dim
    own = [getattr(attention, n) for n in ("in_proj_weight", "in_proj_bias") if getattr(attention, n) is not None]
    rows = [t[part * heads * size + head * size :][:size] for t in own for part in (1, 2) for head in range(heads)]
    stream = [dense.embed.weight, dense.embed.bias, attention.out_proj.weight]
    stream += [] if attention.out_proj.bias is None else [attention.out_proj.bias]
    rows += [t[head * size :][:size] for t in stream for head in range(heads)]
    with torch.no_grad():
        tie_(kept, size, *rows)
    return dense


@settings(max_examples=6)
@given(st.integers(0, 99), st.sampled_from([1, 2, 3]), st.sampled_from([3, 4]), st.booleans(), st.data())
def test_a_dimension_of_every_head_that_others_can_tell_is_no_loss(seed, heads, dimensions, bias, data):
    torch.manual_seed(seed)
    dense, x = Attending(heads, dimensions, bias).double().eval(), torch.zeros(2, 5, 6, dtype=torch.float64)
    kept = sorted(data.draw(st.sets(st.integers(0, dimensions - 1), min_size=1, max_size=dimensions - 1)))
    dense = tied(dense, kept)
    pruned = ip.prune_(copy.deepcopy(dense), x, keeping(dense, x, {"embed": kept}), certify=False)
    ip.compensate_(pruned, dense, pictures(5, 6), progress=False)
    assert gap(dense, pruned, x) < EXACT


def test_its_projections_are_in_the_table_and_its_tensors_keep_their_names():
    torch.manual_seed(0)
    dense, x = Attending().double().eval(), torch.zeros(2, 5, 6, dtype=torch.float64)
    plan = keeping(dense, x, {"embed": [0, 1, 3]})
    before = ip.prune_(copy.deepcopy(dense), x, plan, certify=False).state_dict()
    whole = copy.deepcopy(dense.state_dict())
    pruned = ip.prune_(copy.deepcopy(dense), x, plan, certify=False)
    parameters = {name: id(p) for name, p in pruned.named_parameters()}
    table = ip.compensate_(pruned, dense, pictures(5, 6), progress=False)
    assert [row.reader for row in table.rows] == ["attention.in_proj", "attention.out_proj", "head"]
    assert not table.alone
    assert table.outputs["readers"] < 0.5 * table.outputs["plain"]
    assert not torch.equal(pruned.attention.in_proj_weight, before["attention.in_proj_weight"])
    assert {name: id(p) for name, p in pruned.named_parameters()} == parameters
    assert all(torch.equal(tensor, whole[name]) for name, tensor in dense.state_dict().items())


def test_refits_that_are_undone_leave_scores_as_surgery_left_them(monkeypatch):
    torch.manual_seed(0)
    dense, x = Attending().double().eval(), torch.zeros(2, 5, 6, dtype=torch.float64)
    pruned = ip.prune_(copy.deepcopy(dense), x, keeping(dense, x, {"embed": [0, 1, 3]}), certify=False)
    before = copy.deepcopy(pruned.state_dict())
    monkeypatch.setattr("infoprune.compensation.compensating.output_errors", lambda *_: [1.0, 1.5])
    ip.compensate_(pruned, dense, pictures(5, 6), progress=False)
    assert all(torch.equal(before[name], tensor) for name, tensor in pruned.state_dict().items())


CALLS = {
    "itself": lambda a, x, y: a(x, x, x),
    "something else": lambda a, x, y: a(x, y, y),
    "weights of each head": lambda a, x, y: a(x, x, x, average_attn_weights=False),
    "the past": lambda a, x, y: a(x, x, x, attn_mask=torch.ones(5, 5).triu(1).bool(), need_weights=False),
    "some": lambda a, x, y: a(x, x, x, key_padding_mask=torch.arange(5).expand(3, -1) > 3),
    "one sample": lambda a, x, y: a(x[0], x[0], x[0]),
}


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("call", CALLS)
def test_taken_apart_it_computes_the_same(call, batch_first):
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(8, 2, batch_first=batch_first).double().eval()
    x, y = torch.randn(2, 3, 5, 8, dtype=torch.float64)
    calls, apart = [], taken_apart(attention)
    apart.out_proj.register_forward_hook(lambda *_: calls.append(1))
    x, y = (x, y) if batch_first or call == "one sample" else (x.transpose(0, 1), y.transpose(0, 1))
    with step_by_step(), torch.no_grad():
        want, got = CALLS[call](attention, x, y), CALLS[call](apart, x, y)
    assert calls == [1]
    for a, b in zip(want, got, strict=True):
        assert (a is None and b is None) or torch.allclose(a, b, rtol=0, atol=1e-14)
    assert put_together(apart).state_dict().keys() == attention.state_dict().keys()
    assert torch.backends.mha.get_fastpath_enabled()


def test_a_transformer_layer_of_torch_is_refitted():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    dense = nn.Sequential(nn.Linear(6, 8), layer, nn.Linear(8, 3)).double().eval()
    x = torch.zeros(2, 5, 6, dtype=torch.float64)
    pruned, table = compensated(dense, x, keeping(dense, x, {"1.linear1": [*range(0, 16, 2)]}))
    assert [row.reader for row in table.rows] == ["1.linear2"]
    assert table.outputs["readers"] < table.outputs["plain"]
    assert type(pruned[1].self_attn) is nn.MultiheadAttention
