"""Sums of distances from every point to all others, or to its nearest few.

Points are [*batch, n, d], sums [*batch, n]; a point is no neighbour of itself. Each distance takes its
cheapest exact road: on a line a sort and prefix sums, Manhattan axis by axis, cosine from one sum of
directions, Euclidean from Gram products of centred points, in blocks that stay in cache. Where a Gram product
would lose a small distance to rounding, the pair's difference is taken instead, so that equal points are
exactly zero apart and have equal sums.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from infoprune.registry import nearest as nearest_name

Distance = Literal["euclidean", "manhattan", "chebyshev", "cosine"]
Parts = Iterable[tuple[Tensor, Tensor]]

BLOCK = 2**20  # distances held at once: 4 MiB of float32, near a core's cache
COPY = 2**24  # weights copied at once: 64 MiB of float32
WIDE = 2**11  # columns of a product at once: wider ones leave the cache and take 6 % longer
ROUNDING = 1e-14  # of a cosine in double precision
EXACT = 2**22  # multiply-adds up to which double precision takes no time worth saving
NEAR = 1e-4  # squared distance over squared norms, below which a Gram product is not trusted


def check_distance(distance: str) -> None:
    known = list(get_args(Distance))
    if distance not in known:
        raise ValueError(f"there is no distance {distance!r}; {nearest_name(str(distance), known)}")


def check_nearest(nearest: int | None) -> None:
    if nearest is not None and nearest < 1:
        raise ValueError(f"nearest is {nearest}; it counts neighbours: give 1 or more, or None for all of them")


@torch.no_grad()
def distance_sums(points: Tensor, *, nearest: int | None = None, distance: Distance = "euclidean") -> Tensor:
    """sum_j |x_i - x_j| over all j, or over the `nearest` closest; [*batch, n] from [*batch, n, d].

    Never negative, in the units of `points` (cosine: 0 to 2 a pair, 1 between a zero and any other
    point). Less than single precision is computed in single. `nearest` of n - 1 or more means all. Not
    differentiable.

    >>> distance_sums(torch.tensor([[0.0, 0.0], [3.0, 4.0], [3.0, 4.0]]))
    tensor([10.,  5.,  5.])
    >>> distance_sums(torch.tensor([[0.0, 0.0], [3.0, 4.0], [3.0, 4.0]]), nearest=1)
    tensor([5., 0., 0.])
    """
    check_distance(distance)
    check_nearest(nearest)
    *batch, n, d = points.shape
    points = points.reshape(-1, n, d)
    points = points.to(torch.promote_types(points.dtype, torch.float32))
    nearest = None if nearest is None or nearest >= n - 1 else nearest
    sums = _sums(points, nearest, distance) if points.numel() else points.new_zeros(points.shape[:-1])
    return sums.reshape(*batch, n)


def _sums(points: Tensor, nearest: int | None, distance: Distance) -> Tensor:
    if points.shape[-1] == 1 and distance != "cosine":
        return _line_sums(points.squeeze(-1), nearest)
    if nearest is not None or distance == "chebyshev":
        return _row_by_row(points, nearest, distance)
    if distance == "manhattan":
        return reduce(torch.add, (_line_sums(axis, None) for axis in points.unbind(-1)))
    return _cosine_sums(points) if distance == "cosine" else _euclidean_sums(points)


def _line_sums(values: Tensor, nearest: int | None) -> Tensor:
    ascending, order = values.sort(dim=-1)
    sums = sorted_sums(ascending, nearest=nearest)
    return torch.empty_like(sums).scatter_(-1, order, sums)


def sorted_sums(ascending: Tensor, *, nearest: int | None = None) -> Tensor:
    """sum_j |x_k - x_j| on a line, [*batch, n] from ascending [*batch, n], in O(n).

    Stepping from x_k to x_k+1 moves away from k + 1 points and towards n - k - 1, by the gap between the two.

    >>> sorted_sums(torch.tensor([0.0, 1.0, 5.0]))
    tensor([6., 5., 9.])
    """
    if nearest is not None and nearest < ascending.shape[-1] - 1:
        return _sorted_nearest_sums(ascending, nearest)
    first = (ascending - ascending[..., :1]).sum(-1, keepdim=True)
    return sorted_rises(ascending).add_(first)


def sorted_rises(ascending: Tensor) -> Tensor:
    """`sorted_sums` less the first of them, which keeps more digits where sums are large."""
    n = ascending.shape[-1]
    step = torch.arange(2 - n, n, 2, dtype=ascending.dtype, device=ascending.device)
    rises = torch.zeros_like(ascending)
    torch.cumsum(ascending.diff(dim=-1).mul_(step), -1, out=rises[..., 1:])
    return rises


def _sorted_nearest_sums(x: Tensor, nearest: int) -> Tensor:
    """The nearest M neighbours of x_k fill a window of M + 1 sorted values around it.

    It starts at the first s whose far end x_s+M+1 is no closer than its near end x_s, that is x_s + x_s+M+1
    >= 2 x_k.
    """
    n, dtype = x.shape[-1], x.dtype
    x = x.double().contiguous()
    k = torch.arange(n, device=x.device).expand_as(x)
    ends = x[..., : n - nearest - 1] + x[..., nearest + 1 :]
    start = torch.searchsorted(ends.contiguous(), 2 * x).maximum(k - nearest)
    before = torch.nn.functional.pad(x.cumsum(-1), (1, 0))
    here, after = before.gather(-1, k), before.gather(-1, k + 1)
    below = x * (k - start) - (here - before.gather(-1, start))
    above = before.gather(-1, start + nearest + 1) - after - x * (start + nearest - k)
    first_equal = torch.searchsorted(x, x)
    return (below + above).clamp_(min=0).gather(-1, first_equal).to(dtype)


def _cosine_sums(points: Tensor) -> Tensor:
    """sum_j (1 - u_i . u_j) = n - 1 - u_i . (sum_j u_j - u_i) for directions u.

    A zero point has none: it lies 1 from the others, and 0 from other zero points.
    """
    directions = normalize(points.double(), dim=-1)
    is_zero = (directions == 0).all(-1)
    others = directions.sum(-2, keepdim=True) - directions
    sums = points.shape[-2] - 1 - (directions * others).sum(-1)
    sums = torch.where(is_zero, (~is_zero).sum(-1, keepdim=True).double(), sums)
    return torch.where(sums > ROUNDING * points.shape[-2], sums, 0).to(points.dtype)


def _row_by_row(points: Tensor, nearest: int | None, distance: Distance) -> Tensor:
    b, n, _ = points.shape
    sums = points.new_empty(b, n)
    for batch in _slices(b, BLOCK // n**2):
        for rows in _slices(n, BLOCK // n):
            sums[batch, rows] = _nearest_sum(_between(points[batch], rows, distance), nearest)
    return sums


def _slices(n: int, size: int) -> Iterator[slice]:
    size = max(1, size)
    return (slice(first, min(first + size, n)) for first in range(0, n, size))


def _between(points: Tensor, rows: slice, distance: Distance) -> Tensor:
    """[batch, rows, n]: the rows' distances to every point, from differences."""
    if distance == "cosine":
        return _cosine_between(normalize(points.double(), dim=-1), rows).to(points.dtype)
    order = {"euclidean": 2.0, "manhattan": 1.0, "chebyshev": torch.inf}[distance]
    return torch.cdist(points[:, rows], points, p=order, compute_mode="donot_use_mm_for_euclid_dist")


def _cosine_between(directions: Tensor, rows: slice) -> Tensor:
    is_zero = (directions == 0).all(-1)
    between = 1 - directions[:, rows] @ directions.mT
    between.masked_fill_(is_zero[:, rows, None] & is_zero[:, None], 0)
    return torch.where(between > ROUNDING, between, 0)


def _nearest_sum(distances: Tensor, nearest: int | None) -> Tensor:
    """The nearest of all is the point itself, at distance zero."""
    if nearest is None:
        return distances.sum(-1)
    return distances.topk(nearest + 1, dim=-1, largest=False).values.sum(-1)


def _euclidean_sums(points: Tensor) -> Tensor:
    b, n, d = points.shape
    if points.dtype == torch.float32 and b * n**2 * d <= EXACT and n * d <= COPY:
        return _euclidean_sums(points.double()).float()
    size = max(1, min(BLOCK // (n * _strip(d)), COPY // (n * d)))
    return torch.cat([_euclidean_block(batch) for batch in points.split(size)])


def _strip(d: int) -> int:
    """Rows taken at once: few waste little below the diagonal, many multiply long points faster."""
    return 32 if d < 64 else 256


def _euclidean_block(points: Tensor) -> Tensor:
    """Strips of the upper triangle: a distance counts for its row's point and for its column's."""
    b, n, d = points.shape
    sums = points.new_zeros(b, n, dtype=torch.float64)
    twins = torch.arange(b * n, device=points.device).view(b, n)
    whole = list(_centred(points)) if n * d <= COPY else None
    strips = list(_slices(n, _strip(d)))
    held = 1 if whole else max(1, COPY // (n * _strip(d)))
    scratch = points.new_empty(held * b * n * min(n, _strip(d)))
    for first in range(0, len(strips), held):
        together = strips[first : first + held]
        squares = _views(scratch, b, n, together)
        norms = _fill_squares(squares, together, whole or _centred(points))
        for square, rows in zip(squares, together, strict=True):
            _mend(square, norms, points, rows, twins)
            distances = _sqrt_(square)
            sums[:, rows] += distances.sum(-1)
            sums[:, rows.stop :] += distances[..., rows.stop - rows.start :].sum(-2)
    return sums.view(-1)[twins].to(points.dtype)


def _centred(points: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """The points less their mean, with their squared norms, in parts of the last axis that can be copied.

    Each part overwrites the one before.
    """
    b, n, d = points.shape
    room = points.new_empty(b, n, min(d, max(1, COPY // (b * n))))
    for part in points.split(room.shape[-1], dim=-1):
        centred = torch.sub(part, part.mean(-2, keepdim=True), out=room[..., : part.shape[-1]])
        yield centred, torch.linalg.vector_norm(centred, dim=-1).square_()


def _views(scratch: Tensor, b: int, n: int, strips: Sequence[slice]) -> list[Tensor]:
    """Room for each strip's rows and all points after them, [b, rows, n - first]."""
    shapes = [(b, rows.stop - rows.start, n - rows.start) for rows in strips]
    sizes = [math.prod(shape) for shape in shapes]
    parts = scratch[: sum(sizes)].split(sizes)
    return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]


def _fill_squares(squares: Sequence[Tensor], strips: Sequence[slice], parts: Parts) -> Tensor:
    """Put |x_i|^2 + |x_j|^2 - 2 x_i . x_j into `squares`, for each strip; returns the |x_i|^2, [b, n]."""
    total: Tensor | None = None
    for points, norms in parts:
        for square, rows in zip(squares, strips, strict=True):
            left, right = norms[:, rows, None], norms[:, None, rows.start :]
            if total is None:
                torch.add(left, right, out=square)
            else:
                square.add_(left).add_(right)
            for some, others in zip(square.split(WIDE, -1), points[:, rows.start :].split(WIDE, -2), strict=True):
                some.baddbmm_(points[:, rows], others.mT, alpha=-2)
        total = norms if total is None else total + norms
    assert total is not None
    return total


def _sqrt_(x: Tensor) -> Tensor:
    """On a CPU by numpy, in two thirds of torch's time."""
    if not x.is_cpu:
        return x.sqrt_()
    np.sqrt(x.numpy(), out=x.numpy())
    return x


def _mend(squares: Tensor, norms: Tensor, points: Tensor, rows: slice, twins: Tensor) -> None:
    """Take lost squares from differences instead, and note in `twins` the first of equal points.

    A row's smallest square tells whether there is any: norms of close points are close.
    """
    own = squares[..., : rows.stop - rows.start].diagonal(dim1=-2, dim2=-1)
    own.fill_(torch.inf)
    spread = norms.amax(-1, keepdim=True) > 0
    if ((squares.amin(-1) <= 3 * NEAR * norms[:, rows]) & spread).any():
        lost = squares <= NEAR * (norms[:, rows, None] + norms[:, None, rows.start :])
        for pairs in lost.nonzero().split(max(1, COPY // points.shape[-1])):
            batch, i, j = pairs.unbind(-1)
            exact = (points[batch, i + rows.start] - points[batch, j + rows.start]).square_().sum(-1)
            squares[batch, i, j] = exact
            _note_twins(twins, pairs[exact == 0] + pairs.new_tensor([0, rows.start, rows.start]))
    own.zero_()


def _note_twins(twins: Tensor, pairs: Tensor) -> None:
    batch, i, j = pairs.unbind(-1)
    first, second = batch * twins.shape[-1] + i.minimum(j), batch * twins.shape[-1] + i.maximum(j)
    twins.view(-1).scatter_reduce_(0, second, first, "amin")
