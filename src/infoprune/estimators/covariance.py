"""Means and cross-covariances of streams of samples, exact to double precision and mergeable by addition."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

ROWS = 8192  # samples multiplied at once: rounding in single precision grows with their number


@dataclass(eq=False)
class Comoments:
    """Sums of x, of z and of x z' over the samples seen; every field is a plain float64 tensor.

    Adding the fields of two streams gives those of both (what processes all-reduce), and memory does not grow with the
    number of samples. Batches are centred before they are multiplied, so that single precision data keep their digits
    however far their mean is from zero.

    >>> seen = Comoments.empty(1, 1).add_(torch.tensor([[1.0], [3.0]]), torch.tensor([[2.0], [6.0]]))
    >>> seen.covariance().item(), seen.second_moment().item()
    (2.0, 10.0)
    """

    count: Tensor
    x: Tensor  # *batch x c
    z: Tensor  # *batch x k
    xz: Tensor  # *batch x c x k

    @classmethod
    def empty(cls, *shape: int, device: torch.device | None = None) -> Comoments:
        """Nothing seen yet of x and z with shape `*batch, c, k` in all."""
        *batch, c, k = shape
        sizes = ((), (*batch, c), (*batch, k), (*batch, c, k))
        return cls(*(torch.zeros(size, dtype=torch.float64, device=device) for size in sizes))

    def add_(self, x: Tensor, z: Tensor) -> Comoments:
        """Count the samples x, *batch x n x c, and z, *batch x n x k, in place."""
        for a, b in zip(x.split(ROWS, -2), z.split(ROWS, -2), strict=True):
            a, b = (t if t.dtype == torch.float64 else t.float() for t in (a, b))
            mean_a, mean_b = (t.mean(-2, dtype=torch.float64, keepdim=True) for t in (a, b))
            n = a.shape[-2]
            self.count += n
            self.x += n * mean_a.squeeze(-2)
            self.z += n * mean_b.squeeze(-2)
            self.xz += (a - mean_a.to(a.dtype)).mT @ (b - mean_b.to(b.dtype))
            self.xz.addcmul_(mean_a.mT, mean_b, value=n)
        return self

    def __add__(self, other: Comoments) -> Comoments:
        return Comoments(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def __sub__(self, other: Comoments) -> Comoments:
        return Comoments(*(getattr(self, f.name) - getattr(other, f.name) for f in fields(self)))

    def means(self) -> tuple[Tensor, Tensor]:
        """The means of x and of z."""
        return self.x / self.count, self.z / self.count

    def second_moment(self) -> Tensor:
        """E[x z']"""
        return self.xz / self.count

    def covariance(self) -> Tensor:
        """E[(x - Ex)(z - Ez)']"""
        mean_x, mean_z = self.means()
        return self.second_moment() - mean_x[..., None] * mean_z[..., None, :]
