"""The refit in closed form: what the columns that left told a reader, told by those that stay.

Columns K stay and P leave; everything has a leading axis of groups. x_P is predicted by B x_K,
B = C_PK (C_KK + ridge I)^-1, so that the reader's weight becomes W_K + W_P B, the same B at every tap of a kernel.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from infoprune.estimators.covariance import Comoments

RIDGES = (1e-13, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # of the mean variance of a kept column


class Refit(NamedTuple):
    """A reader's new weight, groups x outputs x taps x kept columns, and the ridge that was chosen."""

    weight: Tensor
    ridge: float


def refit(target: Tensor, kept: Tensor, halves: tuple[Comoments, Comoments], *, centred: bool, exact: bool) -> Refit:
    """The symmetric refit, with the ridge that fits the second half best when solved on the first.

    Moments are of all columns with the kept ones. `centred` where a constant can make up for the means; `exact` where
    data are in double precision, so that no noise hides in small variances.
    """
    first, second = (_moments(half, kept, centred) for half in halves)
    left = removed(kept, target.shape[-1])
    target = target.double()
    stay, leave = (_columns(target, index) for index in (kept, left))
    grid = RIDGES if exact else RIDGES[1:]
    path = _path(leave.flatten(1, 2), left, kept, first, second, grid)
    tie = (1e-13 if exact else 1e-6) * _size(leave, second, left, kept)
    ridge = next(r for r, error in zip(grid, path, strict=True) if error <= min(path) + tie)
    both = _moments(halves[0] + halves[1], kept, centred)
    prediction = predicted(both, kept, left, ridge)
    return Refit(stay + leave @ prediction[:, None], ridge)


def predicted(moments: Tensor, kept: Tensor, left: Tensor, ridge: float) -> Tensor:
    """B of the left columns given the kept ones, groups x left x kept."""
    stay, cross = _rows(moments, kept), _rows(moments, left)
    values, vectors = torch.linalg.eigh((stay + stay.mT) / 2)
    return cross @ vectors @ (_inverse(values, ridge)[..., None] * vectors.mT)


def removed(kept: Tensor, columns: int) -> Tensor:
    """The columns of each group that are not kept, groups x left."""
    gone = torch.ones(kept.shape[0], columns, dtype=torch.bool)
    gone.scatter_(1, kept, False)
    return gone.nonzero()[:, 1].view(kept.shape[0], -1)


def _moments(seen: Comoments, kept: Tensor, centred: bool) -> Tensor:
    """Of all columns with the kept ones, groups x columns x kept."""
    return seen.covariance() if centred else seen.second_moment()


def _path(leave: Tensor, left: Tensor, kept: Tensor, first: Tensor, second: Tensor, grid: tuple) -> list[float]:
    """For every ridge the error on the second half of what was solved on the first, less what no ridge changes.

    With C_KK = U D U' of the first half and T = W_P C_PK U, W_P B = T (D + ridge)^-1 U'. `leave` is W_P.
    """
    stay, cross = _rows(first, kept), leave @ _rows(first, left)
    values, vectors = torch.linalg.eigh((stay + stay.mT) / 2)
    turned = cross @ vectors
    linear = (turned * (leave @ _rows(second, left) @ vectors)).sum(-2)
    quadratic = (turned.mT @ turned) * (vectors.mT @ _rows(second, kept) @ vectors)
    errors = []
    for ridge in grid:
        f = _inverse(values, ridge)
        errors.append(float((f[..., None, :] @ quadratic @ f[..., None]).sum() - 2 * (f * linear).sum()))
    return errors


def _inverse(values: Tensor, ridge: float) -> Tensor:
    """1 / (d + ridge), the ridge in units of the mean eigenvalue; zero where there is no variance at all."""
    scale = values.clamp(min=0).mean(-1, keepdim=True)
    return torch.where(scale > 0, 1 / (values.clamp(min=0) + ridge * scale).clamp(min=1e-300), 0.0)


def _size(leave: Tensor, second: Tensor, left: Tensor, kept: Tensor) -> float:
    """About how much the removed columns told, from the largest covariances known."""
    told = (leave.flatten(1, 2) @ _rows(second, left)).square().sum()
    stay = _rows(second, kept).square().sum().sqrt()
    return float(told / stay) if stay > 0 else 0.0


def _rows(moments: Tensor, index: Tensor) -> Tensor:
    index = index.to(moments.device)
    return moments.gather(1, index[..., None].expand(-1, -1, moments.shape[-1]))


def _columns(weight: Tensor, index: Tensor) -> Tensor:
    """Columns of each group of groups x outputs x taps x columns."""
    index = index.to(weight.device)
    return weight.gather(3, index[:, None, None].expand(-1, *weight.shape[1:3], -1))
