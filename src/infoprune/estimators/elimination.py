"""Which units a linear reader misses least when the others make up for them: backward elimination in closed form.

A reader with weight W, r x c, sees x with covariance C, and H = C^-1. Without the columns J its best other weight loses
tr(W_J H_JJ^-1 W_J') of its output's variance (for Gaussians 1 / H_jj is the variance of x_j given all others), and
becomes W - W_J H_JJ^-1 H_J:, while H becomes H - H_:J H_JJ^-1 H_J:.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

RIDGE = 1e-3  # of the mean variance of a column, added to every one: what few samples can't tell from zero
LATER = 32  # columns that left before matrices are written
COMPACT = 0.7  # columns that left are dropped from the matrices once fewer than this share of them is left


class Elimination(NamedTuple):
    """Units in the order in which they leave, and what each then costs: a share of output variance over all readers."""

    order: Tensor
    costs: Tensor

    def losses(self) -> Tensor:
        """For each unit what has been lost in all once it has left, so that larger means keep."""
        losses = torch.empty_like(self.costs)
        losses[self.order] = self.costs.cumsum(0)
        return losses


def eliminate(readers: Sequence[Reader]) -> Elimination:
    """Units leave one by one, each time the one that costs least given those that left; equal ones by their index.

    >>> covariance = torch.tensor([[4.0, 0.0], [0.0, 1.0]]).double()
    >>> eliminate([Reader.of(torch.ones(1, 2), covariance, torch.tensor([[0], [1]]))]).order.tolist()
    [1, 0]
    """
    systems = [_System(reader) for reader in readers]
    units = len(readers[0].columns)
    alive = torch.ones(units, dtype=torch.bool)
    order, costs = [], []
    for _ in range(units):
        price = torch.stack([system.costs() for system in systems]).sum(0)
        price[~alive] = torch.inf
        unit = int(price.argmin())
        order.append(unit)
        costs.append(float(price[unit].clamp(min=0)))
        alive[unit] = False
        for system in systems:
            system.remove(unit)
    return Elimination(torch.tensor(order), torch.tensor(costs, dtype=torch.float64))


@dataclass(frozen=True, eq=False)
class Reader:
    """A weight r x c, the covariance of its inputs, and the columns of every unit, units x m (-1: none here)."""

    weight: Tensor
    covariance: Tensor
    columns: Tensor

    @classmethod
    def of(cls, weight: Tensor, covariance: Tensor, columns: Tensor) -> Reader:
        """With a weight of at most c rows that has the same products of columns, the only thing that counts."""
        weight = weight.double()
        if weight.shape[0] > weight.shape[1]:
            values, vectors = torch.linalg.eigh(weight.mT @ weight)
            weight = values.clamp(min=0).sqrt()[:, None] * vectors.mT
        return cls(weight, covariance.double(), columns)


class _System:
    """One reader while columns leave it.

    Its weight is W - U V' and its inverse covariance H - V V', where U and V grow with every column that leaves and are
    multiplied out now and then: writing both matrices at every step would take most of the time.
    """

    def __init__(self, reader: Reader):
        c = reader.covariance
        scale = float(c.diagonal().mean())
        eye = torch.eye(len(c), dtype=c.dtype, device=c.device)
        self.variance = float(((reader.weight @ c) * reader.weight).sum())
        self.weight = reader.weight.clone()
        self.inverse = torch.linalg.inv(c + (RIDGE * scale if scale > 0 else 1.0) * eye)
        self.columns = reader.columns.to(c.device).clone()
        self.here = bool((self.columns >= 0).all(1).any()) and self.variance > 0
        self.fixed = _without(self.columns, len(c))
        self.u, self.v = self.weight[:, :0], self.inverse[:, :0]
        self._settle()

    def costs(self) -> Tensor:
        """What every unit would cost now, as a share of the output's variance; nothing where it has no columns."""
        if self.columns.shape[1] > 1:
            self._settle()
        price = torch.zeros(len(self.columns), dtype=self.weight.dtype)
        units = (self.columns >= 0).all(1).nonzero()[:, 0]
        if not self.here or not len(units):
            return price
        index = self.columns[units]
        costs = self._single(index[:, 0]) if index.shape[1] == 1 else self._blocks(index)
        price[units.cpu()] = (costs / self.variance).cpu()
        return price

    def _single(self, index: Tensor) -> Tensor:
        return self.squares[index].clamp(min=0) / self.diagonal[index].clamp(min=1e-300)

    def _blocks(self, index: Tensor) -> Tensor:
        blocks = self.inverse[index[:, :, None], index[:, None, :]]
        weights = self.weight[:, index].movedim(1, 0)
        return (torch.linalg.solve(blocks, weights.mT).mT * weights).sum((1, 2))

    def remove(self, unit: int) -> None:
        """With H_JJ = L L' the new columns of U and V are W_J L'^-1 and H_:J L'^-1."""
        j = self.columns[unit]
        if not self.here or int(j.min()) < 0:
            return
        h = self.inverse[:, j] - self.v @ self.v[j].mT
        lower = torch.linalg.cholesky(h[j])
        u, v = (torch.linalg.solve_triangular(lower, t.mT, upper=False).mT for t in (self._weight_at(j), h))
        self._note(u, v)
        self.columns[unit] = -1
        if self.v.shape[1] >= LATER:
            self._settle()

    def _weight_at(self, j: Tensor) -> Tensor:
        return self.weight[:, j] - self.u @ self.v[j].mT

    def _note(self, u: Tensor, v: Tensor) -> None:
        along = self.weight.mT @ u - self.v @ (self.u.mT @ u)
        self.squares += ((v @ (u.mT @ u)) * v - 2 * along * v).sum(1)
        self.diagonal -= v.square().sum(1)
        self.u, self.v = torch.cat([self.u, u], 1), torch.cat([self.v, v], 1)

    def _settle(self) -> None:
        """Multiply out, and drop the columns of units that left; `fixed`, those of no unit, stay."""
        if self.v.shape[1]:
            self.weight.addmm_(self.u, self.v.mT, alpha=-1)
            self.inverse.addmm_(self.v, self.v.mT, alpha=-1)
        keep = torch.cat([self.columns[self.columns >= 0], self.fixed]).sort().values
        if len(keep) < COMPACT * len(self.inverse):
            place = torch.full((len(self.inverse),), -1, dtype=torch.long, device=keep.device)
            place[keep] = torch.arange(len(keep), device=keep.device)
            self.fixed = place[self.fixed]
            self.weight, self.inverse = self.weight[:, keep].contiguous(), self.inverse[keep][:, keep].contiguous()
            self.columns = torch.where(self.columns >= 0, place[self.columns.clamp(min=0)], -1)
        self.u, self.v = self.weight[:, :0], self.inverse[:, :0]
        self.squares, self.diagonal = self.weight.square().sum(0), self.inverse.diagonal().clone()


def _without(columns: Tensor, size: int) -> Tensor:
    free = torch.ones(size, dtype=torch.bool, device=columns.device)
    free[columns[columns >= 0]] = False
    return free.nonzero()[:, 0]
