"""Operations that run along one axis leave the labels of the others alone."""

import pytest
import torch
import torch.nn.functional as F
from tests.masked_by_hand import prunes_right
from torch import nn

from infoprune.graph import Graph

ROWS = torch.tensor([0, 1, 1, 3])


class Rows(nn.Module):
    """Three layers; `mix` is what happens to rows of 24 channels on the way."""

    def __init__(self, mix):
        super().__init__()
        self.a, self.b, self.c, self.mix = nn.Linear(8, 20), nn.Linear(20, 24), nn.Linear(24, 4), mix

    def forward(self, x):
        return self.c(self.mix(self.b(torch.relu(self.a(x)))))


def to_all(h):
    return ROWS[:, None].expand(4, h.shape[1])


def neighbours(h):
    return h[torch.cdist(h, h).topk(2)[1]].mean(1)


def assigned(h):
    z = torch.zeros_like(h)
    z[1:] = h[:-1]
    return z


def two_halves(h):
    z = torch.empty(h.shape, dtype=h.dtype)
    z[:2], z[2:] = h[2:], h[:2] * 2
    return z


def copied(h):
    z = torch.zeros_like(h)
    z[:2].copy_(h[2:])
    return z + torch.empty_like(h).copy_(h)


def added_to_a_part(h):
    z = torch.zeros_like(h)
    z[1:3] += h[:2]
    z[3].add_(h[0])
    return z


def masked_rows(h):
    z = h.clone()
    z[torch.tensor([True, False, True, False])] = 0
    return z


def best_rows(h):
    values, index = h.topk(4, 0)
    return values + h.sort(0)[0] + h.argsort(0) * 0 + index * 0


MIXES = {
    "cumsum": lambda h: h.cumsum(0),
    "cumprod": lambda h: h.cumprod(0) + h.cumsum(0),
    "cummax": lambda h: h.cummax(0)[0],
    "logcumsumexp": lambda h: h.logcumsumexp(0) * h,
    "sort and topk": best_rows,
    "kthvalue": lambda h: h.kthvalue(2, 0)[0] + h.median(0)[0],
    "gather": lambda h: h.gather(0, to_all(h)),
    "take_along_dim": lambda h: h.take_along_dim(ROWS[:, None], 0),
    "index_select": lambda h: h.index_select(0, ROWS),
    "scatter_add": lambda h: torch.zeros_like(h).scatter_add_(0, to_all(h), h),
    "scatter": lambda h: torch.zeros_like(h).scatter(0, to_all(h), h),
    "scatter_reduce": lambda h: torch.zeros_like(h).scatter_reduce(0, to_all(h), h, "sum"),
    "index_add": lambda h: torch.zeros_like(h).index_add_(0, ROWS, h),
    "index_add rest": lambda h: h.index_add(0, ROWS, h),
    "index_copy": lambda h: h.index_copy(0, ROWS[[0, 1, 3]], 2 * h[:3]),
    "index_fill": lambda h: h.index_fill(0, ROWS[:2], 0.0),
    "cdist": neighbours,
    "roll": lambda h: h.roll(1, 0) - h.roll((1, 2), (0, 0)) * 2,
    "flip": lambda h: h.flip(0) - h,
    "flip channels": lambda h: h.flip(1),
    "unfold": lambda h: h.unfold(0, 2, 1).mean(-1),
    "normalise rows": lambda h: F.normalize(h, dim=0),
    "normalise channels": lambda h: F.normalize(h, dim=-1),
    "cosine": lambda h: h * F.cosine_similarity(h, h.flip(0), dim=1)[:, None],
    "slice assignment": assigned,
    "two halves": two_halves,
    "copied": copied,
    "added to a part": added_to_a_part,
    "rows set to zero": masked_rows,
    "tril": lambda h: torch.ones(4, 4).to(h).tril() @ h,
    "lerp": lambda h: torch.lerp(h, h.flip(0), 0.3),
    "logsumexp over rows": lambda h: h * h.logsumexp(0),
    "product of rows": lambda h: h.prod(0, keepdim=True) + h,
    "repeat_interleave": lambda h: h.repeat_interleave(2, 0),
    "tensor_split": lambda h: torch.cat(h.tensor_split(2, 0)[::-1]),
    "outer": lambda h: torch.einsum("nc,mc->nm", h, h) @ h,
    "three operands": lambda h: torch.einsum("nc,mc,md->nd", h, h, h),
    "elementwise einsum": lambda h: torch.einsum("nc,nc->nc", h, h),
    "diagonal": lambda h: torch.einsum("nnc->nc", h[:, None] * h[None]),
    "bilinear": lambda h: torch.einsum("nc,nd->ncd", h, h).sum(2),
}


@pytest.mark.parametrize("mix", MIXES)
def test_channels_leave_around_an_operation_along_rows(mix):
    net = Rows(MIXES[mix])
    plan = prunes_right(net, torch.randn(4, 8), torch.randn(4, 8), rates=0.5)
    assert {edit.site.name for edit in plan.edits} == {"a", "b"}


STAY = {
    "cumsum": lambda h: h.cumsum(1),
    "sort": lambda h: h.sort(1)[0],
    "logsumexp": lambda h: h + h.logsumexp(1, keepdim=True),
    "product": lambda h: h + h.sigmoid().prod(1, keepdim=True),
    "topk": lambda h: h.topk(24, 1)[0],
    "gather": lambda h: h.gather(1, torch.arange(24).flip(0).expand(4, 24)),
    "scatter_add": lambda h: torch.zeros_like(h).scatter_add_(1, torch.arange(24).expand(4, 24), h),
    "index_add": lambda h: torch.zeros_like(h).index_add_(1, torch.arange(24).flip(0), h),
    "roll": lambda h: h.roll(5, 1),
}


@pytest.mark.parametrize("mix", STAY)
def test_channels_stay_where_an_operation_runs_along_them(mix):
    net = Rows(STAY[mix])
    plan = prunes_right(net, torch.randn(4, 8), torch.randn(4, 8))
    assert {edit.site.name for edit in plan.edits} == {"a"}
    if mix != "roll":
        graph = Graph.trace(net.eval(), torch.randn(4, 8))
        assert not graph.quarantined
        assert any(reason.endswith("along it") for _, reason in graph._tape.ledger.frozen)
