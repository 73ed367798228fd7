"""Euclidean distances between the points of two samples, without loss of digits."""

from __future__ import annotations

import math

import torch
from torch import Tensor

NARROW = 8  # up to this many features, differences one by one are as fast as a matrix product
CLOSE = 0.01  # pairs nearer than this share of their squared norms are computed again, one by one
REPAIRED_AT_ONCE = 1 << 22  # numbers held in memory while doing so


def unit_of(x: Tensor) -> Tensor:
    """The power of two below the largest number: samples divided by it, exactly, have squares that floats can hold."""
    if not x.shape[-1]:
        return x.new_ones(*x.shape[:-2], 1, 1)
    exponent = torch.frexp(x.abs().amax((-2, -1), keepdim=True)).exponent
    most = int(-math.log2(torch.finfo(x.dtype).tiny))
    return torch.ldexp(torch.ones_like(exponent, dtype=x.dtype), exponent.clamp(-most, most))


def apart(x: Tensor, y: Tensor) -> Tensor:
    """|x_i - y_j| for samples whose squares floats can hold: those that were divided by their unit."""
    if x.shape[-1] <= NARROW:
        return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")
    origin = y.mean(-2, keepdim=True)
    x, y = x - origin, y - origin
    return by_product(x, y, x.square().sum(-1), y.square().sum(-1))


def by_product(x: Tensor, y: Tensor, x_squares: Tensor, y_squares: Tensor, *, same: int = 0) -> Tensor:
    """Distances between samples near the origin, from |x|^2 + |y|^2 - 2 <x, y>; the first `same` y are the first x."""
    squared = (x @ y.mT).mul_(-2).add_(x_squares.unsqueeze(-1)).add_(y_squares.unsqueeze(-2))
    itself = squared[..., :same].diagonal(dim1=-2, dim2=-1)
    itself.fill_(torch.inf)  # so that they don't ask for a repair
    _repair(squared, x, y, x_squares, y_squares)
    itself.zero_()
    return squared.sqrt_()


def _repair(squared: Tensor, x: Tensor, y: Tensor, x_squares: Tensor, y_squares: Tensor) -> None:
    """Squared distances that cancelled, again from differences; close points have close norms, which finds rows."""
    if not (squared.amin(-1) <= 3 * CLOSE * x_squares).any():
        return
    close = (squared <= CLOSE * (x_squares.unsqueeze(-1) + y_squares.unsqueeze(-2))).nonzero()
    for part in close.split(max(1, REPAIRED_AT_ONCE // x.shape[-1])):
        *batch, i, j = part.unbind(-1)
        squared[(*batch, i, j)] = (x[(*batch, i)] - y[(*batch, j)]).square().sum(-1)
