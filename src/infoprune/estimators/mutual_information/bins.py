"""Numbers of features as bins, and the directions in which patches vary."""

from __future__ import annotations

import torch
from torch import Tensor


def value_range(x: Tensor) -> tuple[Tensor, Tensor]:
    """The least and the greatest number of each feature *batch x n x d: two of *batch.

    Ranges of several batches combine by minimum and maximum, so one pass over the data, or a part of it,
    suffices.
    """
    return x.amin((-2, -1)), x.amax((-2, -1))


def uniform_codes(x: Tensor, low: Tensor, high: Tensor, bins: int) -> Tensor:
    """floor(bins (x - low) / (high - low)), clamped to 0 ... bins - 1, of *batch x n x d; in the type of `x`.

    A feature whose range is empty has code 0. Scaling a feature (and its range) by a power of two changes
    nothing, bit for bit. Any other positive factor rounds the numbers themselves; to keep codes the same, a
    number within 8 `bins` roundings below an edge counts as on it, so quantised data, which sit on edges,
    stay. What remains is a number whose distance to that limit is of the order of its own rounding: about one
    in 10^5 of continuous float32 data, one in 10^13 of float64. A negative factor mirrors the bins and can
    only move numbers exactly on an edge. `quantile_codes` are exactly invariant.

    Args:
        x: *batch x n x d.
        low: Where the first bin of each feature begins.
        high: Where the last one ends.
        bins: How many there are.

    >>> uniform_codes(torch.tensor([[0.0], [0.5], [1.0]]), torch.tensor(0.0), torch.tensor(1.0), 4).flatten()
    tensor([0., 2., 3.])
    """
    low, high = (edge.to(x)[..., None, None] for edge in (low, high))
    width = high - low
    scale = torch.where(width > 0, bins / width, torch.zeros_like(width))
    snap = 8 * bins * torch.finfo(x.dtype).eps
    return ((x - low).mul_(scale)).add_(snap).floor_().clamp_(0, bins - 1)


def quantile_codes(x: Tensor, bins: int) -> Tensor:
    """The quantile bin, 0 ... bins - 1, of each number within its feature *batch x n x d; in the type of `x`.

    Depends on the order of numbers only, so it is exactly invariant to every increasing map of the feature
    that keeps different numbers different. Pass the codes to `binned` with the same `bins`.

    >>> quantile_codes(torch.tensor([[1.0], [2.0], [30.0], [400.0]]), 2).flatten()
    tensor([0., 0., 1., 1.])
    """
    flat = x.flatten(-2).contiguous()
    count = flat.shape[-1]
    if not 1 <= bins <= count:
        raise ValueError(f"bins is {bins}; it must lie between 1 and the count of numbers in a feature, {count}")
    positions = torch.tensor([count * edge // bins for edge in range(1, bins)], dtype=torch.int64, device=x.device)
    edges = flat.sort(-1).values[..., positions].contiguous()
    return torch.searchsorted(edges, flat, right=True).reshape(x.shape).to(x.dtype)


def principal_axes(x: Tensor, components: int = 2) -> Tensor:
    """The directions in which patches *batch x n x d vary most: *batch x d x components, orthonormal."""
    if not 1 <= components <= x.shape[-1]:
        raise ValueError(f"components is {components}; it must lie between 1 and the {x.shape[-1]} numbers of a patch")
    centred = (x - x.mean(-2, keepdim=True)).double()
    return torch.linalg.eigh(centred.mT @ centred).eigenvectors[..., -components:].flip(-1)


def project(x: Tensor, axes: Tensor) -> Tensor:
    """Patches *batch x n x d along `axes` *batch x d x c, each in its own range [0, 1]: *batch x n x c.

    The low-variance view of wide patches: 2 axes in 8 bins make 64 patterns. Axes may come from a part of the
    data.
    """
    scores = x.double() @ axes
    low, high = scores.amin(-2, keepdim=True), scores.amax(-2, keepdim=True)
    return torch.where(high > low, (scores - low) / (high - low), torch.zeros_like(scores))
