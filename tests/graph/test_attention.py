"""Attention with fewer key heads than query heads: what leaves together, and what it costs."""

import copy

import pytest
import torch
import torch.nn.functional as F
import torch_pruning as tp
from torch import Tensor, nn

import infoprune as ip
from infoprune.graph import Graph

L2 = tp.importance.MagnitudeImportance(p=2)
DIM = 6


def natively(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, enable_gqa=True)


def interleaved(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    k, v = (t.repeat_interleave(q.size(1) // k.size(1), 1) for t in (k, v))
    return (q @ k.transpose(-1, -2) * DIM**-0.5).softmax(-1) @ v


def expanded(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    batch, heads, tokens, dim = k.shape
    shape = batch, heads, q.size(1) // heads, tokens, dim
    return F.scaled_dot_product_attention(q, *(t[:, :, None].expand(shape).flatten(1, 2) for t in (k, v)))


def masked(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    causal = torch.ones(q.size(-2), k.size(-2), dtype=torch.bool).tril()
    return F.scaled_dot_product_attention(q, k, v, attn_mask=causal[None, None], enable_gqa=True)


class SharedKeys(nn.Module):
    """Four query heads on two key heads (or on one)."""

    def __init__(self, attend, keys: int = 2):
        super().__init__()
        self.attend = attend
        self.q, self.o = nn.Linear(10, 4 * DIM), nn.Linear(4 * DIM, 10)
        self.k, self.v = nn.Linear(10, keys * DIM), nn.Linear(10, keys * DIM)
        self.head = nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (layer(x).unflatten(-1, (-1, DIM)).transpose(1, 2) for layer in (self.q, self.k, self.v))
        return self.head(self.o(self.attend(q, k, v).transpose(1, 2).flatten(2)))


def made(*options) -> nn.Module:
    torch.manual_seed(0)
    return SharedKeys(*options).double().eval()


def tokens(count: int = 7, batch: int = 2) -> Tensor:
    return torch.randn(batch, count, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("attend", [natively, interleaved, expanded, masked])
def test_a_key_head_leaves_with_its_query_heads(attend):
    model = made(attend)
    graph = Graph.trace(model, tokens())
    assert not graph.quarantined
    site = graph.site("q")
    assert (site.size, site.step) == (2, 2 * DIM)
    owned = {m.name: len(m.index) // site.size for m in graph.members("q")}
    assert owned == {"q": 2 * DIM, "k": DIM, "v": DIM, "o": 2 * DIM}


@pytest.mark.parametrize("attend", [natively, interleaved, expanded, masked])
def test_a_key_head_that_left_is_as_good_as_zeroed_by_hand(attend):
    """The first key head's rows and the first two query heads' columns, zeroed without asking the library."""
    model = made(attend)
    dense = copy.deepcopy(model)
    plan = ip.plan(model, tokens(), L2, rates={"q": 0.5})
    (kept,) = plan.edits[0].kept
    ip.prune_(model, tokens(), plan)
    columns = slice((1 - kept) * 2 * DIM, (2 - kept) * 2 * DIM)
    with torch.no_grad():
        dense.o.weight[:, columns] = 0
    for x in (tokens(), tokens(11, 3)):
        torch.testing.assert_close(model(x), dense(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("attend", [natively, interleaved, expanded, masked])
@pytest.mark.parametrize("keys", [2, 1])
def test_every_product_of_attention_is_in_the_price(attend, keys):
    """40 x 40 scores make attention most of what there is to count."""
    model, x = made(attend, keys), tokens(40)
    plan = ip.plan(model, x, L2, budgets=[ip.budgets.macs(keep=0.6)])
    assert plan.prices["macs"].before == ip.measure(model, x).macs == by_hand(40, 4, keys)
    ip.prune_(model, x, plan)
    assert plan.prices["macs"].after == ip.measure(model, x).macs <= 0.6 * by_hand(40, 4, keys)


def by_hand(count: int, heads: int, keys: int, batch: int = 2) -> int:
    linear = 10 * DIM * (2 * heads + 2 * keys) + 10 * 3
    return batch * (count * linear + 2 * heads * count * count * DIM)


def test_query_heads_of_a_single_key_head_leave_one_by_one():
    graph = Graph.trace(made(natively, 1), tokens())
    assert (graph.site("q").size, graph.site("q").step) == (4, DIM)
    assert {m.name for m in graph.members("q")} == {"q", "o"}
    assert not graph.quarantined
