"""What several layers say about one unit, merged into one score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from infoprune.registry import nearest

Reduction = Literal["mean", "sum", "max", "prod", "first"]
Votes = Sequence[tuple[Tensor, Tensor]]

NEUTRAL = {"mean": 0.0, "sum": 0.0, "max": -torch.inf, "prod": 1.0, "first": 0.0}


def check_reduction(reduction: str) -> None:
    known = list(get_args(Reduction))
    if reduction not in known:
        raise ValueError(f"there is no reduction {reduction!r}; {nearest(str(reduction), known)}")


def reduce_votes(votes: Votes, size: int, reduction: Reduction) -> Tensor:
    """Scores of `size` units from votes, each a pair (unit of every entry, score of every entry).

    `mean` divides by the number of entries that fall on a unit, so a unit that fewer layers reach is not
    worth less. `first` keeps the first vote that reaches a unit, in the group's order. Units without a vote
    get the mean of the others, which moves them neither to the front nor to the back.

    >>> votes = [(torch.arange(3), torch.tensor([1.0, 2.0, 3.0])), (torch.tensor([2]), torch.tensor([5.0]))]
    >>> reduce_votes(votes, 3, "mean"), reduce_votes(votes, 3, "first")
    (tensor([1., 2., 4.]), tensor([1., 2., 3.]))
    """
    if reduction == "first":
        votes = _first_only(votes, size)
    dtype = torch.float64 if any(score.dtype == torch.float64 for _, score in votes) else torch.float32
    device = votes[0][1].device
    units = torch.cat([unit.to(device) for unit, _ in votes])
    scores = torch.cat([score.to(device, dtype) for _, score in votes])
    count = torch.bincount(units, minlength=size)
    merged = torch.full((size,), NEUTRAL[reduction], dtype=dtype, device=device)
    if reduction == "max":
        merged.scatter_reduce_(0, units, scores, "amax")
    elif reduction == "prod":
        merged.scatter_reduce_(0, units, scores, "prod")
    else:
        merged.index_add_(0, units, scores)
    if reduction in ("mean", "first"):
        merged /= count.clamp(min=1)
    return _filled(merged, count > 0)


def _first_only(votes: Votes, size: int) -> Votes:
    open_units = torch.ones(size, dtype=torch.bool)
    kept = []
    for unit, score in votes:
        wanted = open_units[unit.cpu()].to(unit.device)
        kept.append((unit[wanted], score[wanted]))
        open_units[unit.cpu()] = False
    return kept


def _filled(scores: Tensor, reached: Tensor) -> Tensor:
    return scores if reached.all() else torch.where(reached, scores, scores[reached].mean())
