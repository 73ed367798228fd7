"""Equations 1 to 7 of the paper, a filter and a kernel at a time, in double precision."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def distance(a: Tensor, b: Tensor, kind: str) -> float:
    a, b = a.double().flatten(), b.double().flatten()
    if kind == "euclidean":
        return float((a - b).square().sum().sqrt())
    if kind == "manhattan":
        return float((a - b).abs().sum())
    if kind == "chebyshev":
        return float((a - b).abs().max())
    return float(1 - a @ b / (a.norm() * b.norm()))


def sim(kernels: Tensor, q: int, nearest: int | None, kind: str) -> float:
    """Eq. 3, and eq. 4 with `nearest`."""
    others = sorted(distance(kernels[q], kernels[k], kind) for k in range(len(kernels)) if k != q)
    return sum(others[:nearest])


def entropy(kernels: Tensor, nearest: int | None = None, kind: str = "euclidean") -> float:
    """Eqs. 1 and 2."""
    sims = [sim(kernels, q, nearest, kind) for q in range(len(kernels))]
    odds = [math.exp(s - max(sims)) for s in sims]
    p = [o / sum(odds) for o in odds]
    return -sum(x * math.log2(x) for x in p if x > 0)


def capacity(filters: Tensor, nearest: int | None = None, kind: str = "euclidean") -> Tensor:
    """Eq. 5."""
    return torch.tensor([1 - entropy(f, nearest, kind) for f in filters], dtype=torch.float64)


def independence(filters: Tensor, kind: str = "euclidean") -> Tensor:
    """Eq. 6."""
    n = len(filters)
    sums = [sum(distance(filters[i], filters[k], kind) for k in range(n) if k != i) for i in range(n)]
    return torch.tensor(sums, dtype=torch.float64)


def norm(x: Tensor) -> Tensor:
    return (x - x.min()) / (x.max() - x.min()) if x.max() > x.min() else torch.zeros_like(x)


def mix(filters: Tensor, sigma: float, nearest: int | None = None, kind: str = "euclidean") -> Tensor:
    """Eq. 7."""
    return sigma * norm(capacity(filters, nearest, kind)) + (1 - sigma) * norm(independence(filters, kind))
