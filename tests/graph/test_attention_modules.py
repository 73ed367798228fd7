"""torch's own attention modules take the width of the stream for that of the heads: both shrink as one."""

import math

import pytest
import torch
from tests.masked_by_hand import L2, prunes_right
from torch import nn

import infoprune as ip
from infoprune.graph import Graph


class Attending(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.i, self.a = nn.Linear(6, 32), nn.MultiheadAttention(32, 4, batch_first=True, **options)
        self.f, self.o = nn.Linear(32, 24), nn.Linear(24, 4)

    def attend(self, x):
        return x + self.a(x, x, x, need_weights=False)[0]

    def forward(self, x):
        return self.o(torch.relu(self.f(self.attend(self.i(x)))))


class Crossing(Attending):
    def attend(self, x):
        return x + self.a(x, x.flip(1), 2 * x.flip(1), need_weights=False)[0]


class Remembering(Attending):
    """Keys and values of another width, of their own."""

    def __init__(self):
        super().__init__(kdim=10, vdim=12)
        self.k, self.v = nn.Linear(6, 10), nn.Linear(6, 12)

    def forward(self, x):
        y = self.i(x)
        y = y + self.a(y, torch.tanh(self.k(x)), torch.tanh(self.v(x)), need_weights=False)[0]
        return self.o(torch.relu(self.f(y)))


def words(*shape):
    return torch.randn(*shape, 6)


def query_scale(attention, before, after):
    """1 / sqrt(dimensions of a head) is of those that are left."""

    def adjust(masked):
        module = attention(masked)
        weight = module.in_proj_weight if module.in_proj_weight is not None else module.q_proj_weight
        for rows in (weight, module.in_proj_bias):
            rows.data[: module.embed_dim] *= math.sqrt(before / after)

    return adjust


@pytest.mark.parametrize("build", [Attending, Crossing, Remembering, lambda: Attending(bias=True, add_bias_kv=True)])
def test_a_dimension_of_every_head_leaves_with_as_many_channels_of_the_stream(build):
    net = build().eval()
    for parameter in net.a.parameters():
        nn.init.normal_(parameter, std=0.4)
    sites = {s.name: (s.size, s.step) for s in Graph.trace(net, words(2, 5)).sites}
    assert sites["i"] == (8, 4)
    plan = prunes_right(net, words(2, 5), words(1, 9), adjust=query_scale(lambda m: m.a, 8, 4))
    pruned = ip.prune_(net, words(2, 5), plan)
    assert (pruned.a.embed_dim, pruned.a.head_dim, pruned.a.num_heads) == (16, 4, 4)
    assert (pruned.a.kdim, pruned.a.vdim) == ((5, 6) if build is Remembering else (16, 16))
    pruned.train()(words(2, 3)).sum().backward()


class Stack(nn.Module):
    def __init__(self, stack):
        super().__init__()
        self.i, self.stack, self.o = nn.Linear(6, 32), stack, nn.Linear(32, 4)

    def forward(self, x):
        x = self.i(x)
        return self.o(self.stack(x, 2 * x) if isinstance(self.stack, nn.TransformerDecoder) else self.stack(x))


STACKS = {
    "layer": lambda: nn.TransformerEncoderLayer(32, 4, 48, batch_first=True),
    "encoder": lambda: nn.TransformerEncoder(
        nn.TransformerEncoderLayer(32, 4, 48, batch_first=True, norm_first=True), 2, enable_nested_tensor=False
    ),
    "decoder": lambda: nn.TransformerDecoder(nn.TransformerDecoderLayer(32, 4, 48, batch_first=True), 2),
}


@pytest.mark.parametrize("stack", STACKS)
def test_transformer_layers_lose_stream_heads_and_inner_width(stack):
    net, x = Stack(STACKS[stack]()).eval(), words(2, 5)
    plan = ip.plan(net, x, L2, rates=0.5)
    assert not Graph.trace(net, x).quarantined
    certificate = ip.certificate_of(net, x, plan)
    assert (certificate.statistics, certificate.compared) == (("attention scale", "layer norm"), True)
    pruned = ip.prune_(net, x, plan)
    measured = ip.measure(pruned, x)
    assert (measured.macs, measured.params) == (plan.prices["macs"].after, plan.prices["params"].after)
    assert plan.prices["macs"].after < 0.3 * plan.prices["macs"].before
    pruned.train()(words(3, 7)).sum().backward()
    with torch.no_grad():
        slow = pruned.eval()(words(1, 4))
    assert slow.shape == (1, 4, 4)


def test_a_stream_that_is_an_output_keeps_its_heads():
    net = nn.TransformerEncoderLayer(32, 4, 48, batch_first=True).eval()
    x = torch.randn(2, 5, 32)
    assert [s.name for s in Graph.trace(net, x).sites] == ["linear1"]
