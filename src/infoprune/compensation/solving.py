"""The refit in closed form: what the columns that left told a reader, told by those that stay.

Columns K stay and P leave; everything has a leading axis of groups. x_P is predicted by B x_K,
B = C_PK (C_KK + ridge I)^-1, so that the reader's weight becomes W_K + W_P B, the same B at every tap of a kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from infoprune.estimators.covariance import Comoments

EPSILON = 1e-10  # ridges below are for data without noise, and ask for care with rounding
FINE = (1e-13, 1e-12, 1e-11, 1e-10, 1e-9, 1e-8)  # where all that is not said is rounding, of means above the spread too
RIDGES = (1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)  # of the mean variance of a kept column


class Refit(NamedTuple):
    """A reader's new weight, groups x outputs x taps x kept columns, and the ridge that was chosen."""

    weight: Tensor
    ridge: float


class Regression(NamedTuple):
    """What a weight's outputs need of the columns that are there: covariances with them, and of them."""

    cross: Tensor  # groups x outputs and taps x kept
    stay: Tensor  # groups x kept x kept


def refit(target: Tensor, kept: Tensor, halves: tuple[Comoments, Comoments], *, centred: bool, exact: bool) -> Refit:
    """The symmetric refit: W_K + W_P B. Moments are of all columns with the kept ones.

    `centred` where a constant can make up for the means; `exact` where data are in double precision, so that no noise
    hides in small variances.
    """
    left = removed(kept, target.shape[-1])
    stay, leave = (_columns(target.double(), index) for index in (kept, left))

    def needed(seen: Comoments) -> Regression:
        moments = _moments(seen, centred)
        return Regression(leave.flatten(1, 2) @ _rows(moments, left), _rows(moments, kept))

    coefficients, ridge = solved(needed, halves, exact=exact)
    return Refit(stay + coefficients.view_as(stay), ridge)


def refit_in_place(target: Tensor, now: Tensor, halves: tuple[Any, Any], *, centred: bool, exact: bool) -> Refit:
    """The refit against accumulated error: `now` + (W C_xz - now C_zz) (C_zz + ridge I)^-1.

    z is what the pruned network feeds the reader and x what the dense one does; halves hold the moments of (x, z) and
    of (z, z). The larger the ridge, the closer the answer to `now`.
    """
    now = now.double()

    def needed(seen: tuple[Comoments, ...]) -> Regression:
        xz, zz = (_moments(each, centred) for each in seen)
        cross = target.double().flatten(1, 2) @ xz - now.flatten(1, 2) @ zz
        return Regression(cross, zz)

    coefficients, ridge = solved(needed, halves, exact=exact)
    return Refit(now + coefficients.view_as(now), ridge)


def solved(needed: Callable[[Any], Regression], halves: tuple[Any, Any], *, exact: bool) -> tuple[Tensor, float]:
    """cross (stay + ridge I)^-1 of both halves, with the ridge that fits the second best when solved on the first."""
    first, second = needed(halves[0]), needed(halves[1])
    grid = FINE + RIDGES if exact else RIDGES
    path = _path(first, second, grid)
    tie = (1e-13 if exact else 1e-6) * _size(second)
    ridge = next(r for r, error in zip(grid, path, strict=True) if error <= min(path) + tie)
    return _solution(needed(_sum(*halves)), ridge), ridge


def _solution(both: Regression, ridge: float) -> Tensor:
    """cross (stay + ridge I)^-1; by eigenvalues where rounding leaves no positive definite matrix."""
    scale = both.stay.diagonal(dim1=-2, dim2=-1).mean(-1)
    eye = torch.eye(both.stay.shape[-1], dtype=both.stay.dtype, device=both.stay.device)
    stay = (both.stay + both.stay.mT) / 2 + (ridge * scale)[..., None, None] * eye
    lower, failed = torch.linalg.cholesky_ex(stay)
    if not bool(failed.any()) and ridge > EPSILON:
        return torch.cholesky_solve(both.cross.mT, lower).mT
    values, vectors = _spectrum(both.stay)
    return (both.cross @ vectors * _inverse(values, ridge)[..., None, :]) @ vectors.mT


def _sum(first: Any, second: Any) -> Any:
    return tuple(a + b for a, b in zip(first, second, strict=True)) if isinstance(first, tuple) else first + second


def removed(kept: Tensor, columns: int) -> Tensor:
    """The columns of each group that are not kept, groups x left."""
    gone = torch.ones(kept.shape[0], columns, dtype=torch.bool)
    gone.scatter_(1, kept, False)
    return gone.nonzero()[:, 1].view(kept.shape[0], -1)


def _moments(seen: Comoments, centred: bool) -> Tensor:
    return seen.covariance() if centred else seen.second_moment()


def _path(first: Regression, second: Regression, grid: tuple[float, ...]) -> list[float]:
    """For every ridge the error on the second half of what was solved on the first, less what no ridge changes.

    With stay = U D U' of the first half and T = cross U, the solution is T (D + ridge)^-1 U'.
    """
    values, vectors = _spectrum(first.stay)
    turned = first.cross @ vectors
    linear = (turned * (second.cross @ vectors)).sum(-2)
    quadratic = (turned.mT @ turned) * (vectors.mT @ second.stay @ vectors)
    errors = []
    for ridge in grid:
        f = _inverse(values, ridge)
        errors.append(float((f[..., None, :] @ quadratic @ f[..., None]).sum() - 2 * (f * linear).sum()))
    return errors


def _spectrum(stay: Tensor) -> tuple[Tensor, Tensor]:
    return torch.linalg.eigh((stay + stay.mT) / 2)


def _inverse(values: Tensor, ridge: float) -> Tensor:
    """1 / (d + ridge), the ridge in units of the mean eigenvalue; zero where there is no variance at all."""
    scale = values.clamp(min=0).mean(-1, keepdim=True)
    return torch.where(scale > 0, 1 / (values.clamp(min=0) + ridge * scale).clamp(min=1e-300), 0.0)


def _size(second: Regression) -> float:
    """About how much there is to be told."""
    stay = second.stay.square().sum().sqrt()
    return float(second.cross.square().sum() / stay) if stay > 0 else 0.0


def _rows(moments: Tensor, index: Tensor) -> Tensor:
    index = index.to(moments.device)
    return moments.gather(1, index[..., None].expand(-1, -1, moments.shape[-1]))


def _columns(weight: Tensor, index: Tensor) -> Tensor:
    """Columns of each group of groups x outputs x taps x columns."""
    index = index.to(weight.device)
    return weight.gather(3, index[:, None, None].expand(-1, *weight.shape[1:3], -1))
