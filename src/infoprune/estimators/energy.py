"""Energy statistics: how far apart the classes of a label lie in feature space, without a model of either.

All of it follows from mean distances between classes. `energy` of a pair of classes is twice the mean
distance across less the mean distances within (eq. 4), `coefficient` is the same as a share of twice the
distance across, and the dependence of features on a label is the largest over pairs of classes (definition
2).

What is printed and what is meant: eq. 4 divides the distances within a class by n^2, zeros on the diagonal
included. That is the V-statistic, which is too large by mean distance / n for each class; the paper calls it
unbiased. The U-statistic, `unbiased=True`, divides by n (n - 1). The difference decides which pair is the
maximum when classes have different sizes or only tens of samples: the V-statistic favours rare classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from infoprune.estimators.between import NARROW, apart, by_product, unit_of
from infoprune.estimators.moments import Estimate, samples

Statistic = Callable[[Tensor, Tensor, Tensor], Tensor]
DISTANCES_AT_ONCE = 1 << 18  # small enough to stay in the processor's cache
STRIP = 128  # rows of the distance matrix at once: more of them multiply faster, but waste more below the diagonal


# --- two samples ---


def energy(across: Tensor, within_x: Tensor, within_y: Tensor) -> Tensor:
    """2 E|X - Y| - E|X - X'| - E|Y - Y'| from the three mean distances; in their units (eq. 3)."""
    return 2 * across - within_x - within_y


def coefficient(across: Tensor, within_x: Tensor, within_y: Tensor) -> Tensor:
    """The energy as a share of 2 E|X - Y|: 0 for equal distributions, 1 if neither varies; no units.

    Székely & Rizzo (2013), the coefficient of inhomogeneity H. Zero where all points coincide.
    """
    ratio = energy(across, within_x, within_y) / (2 * across)
    return torch.where(across > 0, ratio, torch.zeros_like(ratio))


def energy_distance(x: Tensor, y: Tensor, *, unbiased: bool = False, statistic: Statistic = energy) -> Tensor:
    """Squared energy distance 2 E|X - Y| - E|X - X'| - E|Y - Y'| of two samples.

    Zero when both hold the same points, never negative, in the units of `x` (eq. 4; Székely & Rizzo 2013). Biased up by
    E|X - X'| / n + E|Y - Y'| / m.

    Args:
        x: *batch x n x d.
        y: *batch x m x d.
        unbiased: Take the bias off; the distance may then be negative.
        statistic: `energy`; or `coefficient` for the share in [0, 1].

    >>> energy_distance(torch.tensor([[0.0]]), torch.tensor([[3.0]]))
    tensor(6.)
    """
    least = 2 if unbiased else 1
    x, y = samples(x, "x", least), samples(y, "y", least)
    if x.shape[-1] != y.shape[-1]:
        raise ValueError(f"x has {x.shape[-1]} features and y has {y.shape[-1]}; a distance needs the same features")
    n, m = x.shape[-2], y.shape[-2]
    unit = torch.maximum(unit_of(x), unit_of(y))
    x, y = x / unit, y / unit
    sums = (apart(a, b).sum((-2, -1)) * unit[..., 0, 0] for a, b in ((x, y), (x, x), (y, y)))
    across, within_x, within_y = sums
    return statistic(across / (n * m), within_x / _pairs(n, unbiased), within_y / _pairs(m, unbiased))


def distances(x: Tensor, y: Tensor) -> Tensor:
    """|x_i - y_j| for samples *batch x n x d and *batch x m x d, as *batch x n x m, without loss of digits.

    Wide features go through one matrix product, which cancels for near neighbours; those are computed again
    from their differences, so the relative error stays below about a hundred roundings.
    """
    unit = torch.maximum(unit_of(x), unit_of(y))
    return apart(x / unit, y / unit) * unit


# --- classes of a label ---


class ClassPairs(NamedTuple):
    """Sums of distances: `to_class[s, c]` from sample s to class c, `between[c, e]` from class c to e."""

    to_class: Tensor  # *batch x n x p
    between: Tensor  # *batch x p x p
    counts: Tensor  # p
    index: Tensor  # n: which of the p classes a sample belongs to


def class_pairs(features: Tensor, labels: Tensor) -> ClassPairs:
    """Sums of distances between classes: each distance is computed once and added to the classes of its ends.

    The classes are the labels that occur, in ascending order; classes that no sample has do not exist here.
    Strips of the distance matrix are dropped once added, so memory is n x p, not n x n. Each strip's sums are
    taken in the precision of the features, and added up in double.
    """
    features = samples(features, "features")
    _check_labels(labels, features.shape[-2])
    values, index = labels.to(features.device).unique(return_inverse=True)
    if len(values) < 2:
        raise ValueError(f"all {len(labels)} samples have label {int(values[0])}; dependence needs two classes")
    order = index.argsort(stable=True)
    unit = unit_of(features)
    ordered = features.index_select(-2, order).div_(unit)
    ordered -= ordered.mean(-2, keepdim=True)
    sums = _sums_to_classes(ordered, index[order], len(values)).mul_(unit)
    to_class = torch.empty_like(sums).index_copy_(-2, order, sums)
    return ClassPairs(to_class, _add_by_class(to_class, index, -2), index.bincount().double(), index)


def _sums_to_classes(x: Tensor, index: Tensor, classes: int) -> Tensor:
    """sum_j |x_i - x_j| over the j of each class, *batch x n x p, for centred samples in the order of their classes.

    A strip of rows is set against itself and all later samples; what follows the strip counts for both ends.
    """
    n = x.shape[-2]
    squares = x.square().sum(-1)
    member = torch.nn.functional.one_hot(index, classes).to(x)
    sums = x.new_zeros(*x.shape[:-1], classes, dtype=torch.float64)
    size = max(1, min(STRIP, DISTANCES_AT_ONCE * x.shape[-1] // max(1, x.numel())))
    for first in range(0, n, size):
        last = min(first + size, n)
        apart = _strip(x, squares, slice(first, last))
        low, high = int(index[first]), int(index[last - 1]) + 1
        sums[..., first:last, low:] += apart @ member[first:, low:]
        sums[..., last:, low:high] += apart[..., last - first :].mT @ member[first:last, low:high]
    return sums


def _strip(x: Tensor, squares: Tensor, rows: slice) -> Tensor:
    """Distances of some rows to themselves and all later ones; exactly zero to themselves."""
    some, later = x[..., rows, :], x[..., rows.start :, :]
    if x.shape[-1] <= NARROW:
        return torch.cdist(some, later, compute_mode="donot_use_mm_for_euclid_dist")
    return by_product(some, later, squares[..., rows], squares[..., rows.start :], same=some.shape[-2])


def pairwise_energy(
    features: Tensor, labels: Tensor, *, unbiased: bool = False, statistic: Statistic = energy
) -> Tensor:
    """The energy between every two of p classes; *batch x p x p.

    The diagonal is zero.

    Args:
        features: *batch x n x d.
        labels: n integers.
        unbiased: Take the bias off; rows and columns of classes with a single sample are then NaN.
        statistic: `energy`; or `coefficient` for the share in [0, 1].

    >>> pairwise_energy(torch.tensor([[0.0], [0.0], [3.0]]), torch.tensor([0, 0, 1]))
    tensor([[0., 6.],
            [6., 0.]], dtype=torch.float64)
    """
    return _pairwise(class_pairs(features, labels), unbiased, statistic)


def energy_dependence(
    features: Tensor, labels: Tensor, *, unbiased: bool = False, statistic: Statistic = energy
) -> Tensor:
    """max over classes i, j of the energy between features of class i and of class j: definition 2; *batch.

    In the units of the features, so comparable between units of a network only if their features have the same scale. A
    maximum of noisy values is biased up, `unbiased` or not, and more so for many classes with few samples.

    Args:
        features: *batch x n x d; flatten maps first.
        labels: n integers.
        unbiased: Take each energy without its bias.
        statistic: `energy`; or `coefficient` for a number in [0, 1] without units, whose maximum may sit at another
            pair of classes.

    >>> energy_dependence(torch.tensor([[0.0], [1.0], [5.0]]), torch.tensor([0, 1, 2]))
    tensor(10., dtype=torch.float64)
    """
    return _largest(_pairwise(class_pairs(features, labels), unbiased, statistic))[0]


def dependence_estimate(
    features: Tensor, labels: Tensor, *, unbiased: bool = False, statistic: Statistic = energy
) -> Estimate:
    """Energy dependence with its standard error, by leaving out one sample at a time.

    The error is that of the winning pair; it does not cover which pair wins. NaN if a class of that pair has
    too few samples to leave one out.

    Args:
        features: n x d; flatten maps first.
        labels: n integers.
        unbiased: As in `energy_dependence`.
        statistic: `energy`, or `coefficient` for the share in [0, 1].
    """
    pairs = class_pairs(features, labels)
    value, first, second = _largest(_pairwise(pairs, unbiased, statistic))
    variance = _left_out(pairs, first, second, unbiased, statistic) + _left_out(
        pairs, second, first, unbiased, statistic
    )
    return Estimate(value, variance.sqrt())


def quantile_labels(targets: Tensor, bins: int) -> Tensor:
    """Labels 0 ... bins - 1 for n real targets: their quantile bins, so that regression has classes too.

    Bins hold about n / bins targets each; equal targets share a bin, so ties can leave bins empty. The
    dependence then is on the bin, which for bins >= 2 is zero if features and target are independent, but not
    only then.

    >>> quantile_labels(torch.tensor([0.1, 5.0, 0.3, 9.0]), 2)
    tensor([0, 1, 0, 1])
    """
    if targets.dim() != 1 or not targets.is_floating_point():
        raise TypeError(f"targets have shape {tuple(targets.shape)} and type {targets.dtype}; pass n real numbers")
    if not targets.isfinite().all():
        raise ValueError("targets hold NaN or infinite numbers; remove them first")
    if not 2 <= bins <= len(targets):
        raise ValueError(f"bins is {bins}; it must lie between 2 and the number of targets, {len(targets)}")
    ordered = targets.sort().values
    edges = ordered[[len(targets) * edge // bins for edge in range(1, bins)]]
    return torch.bucketize(targets, edges, right=True)


# --- streaming ---


@dataclass(frozen=True)
class FeatureSample:
    """At most `capacity` labelled features out of a stream, every sample equally likely to be among them.

    Energies need distances between samples of different batches, so features must be stored; no sum over
    batches can replace them. Memory is capacity x d numbers. Up to `capacity` samples the result is exactly
    that of the whole; beyond, it is exactly that of a uniform sample without replacement. Each sample draws a
    random key and the smallest keys stay, so merging processes (all-gather, then `merge`) keeps the sample
    uniform; give each process a generator with a seed of its own. Pool wide maps or pass them through
    `hsic.sketch` first: a sketch of width w keeps each distance to a relative standard error of 1 / sqrt(2
    w), and the same seed must be used throughout.

    >>> sample = FeatureSample.empty(capacity=100)
    >>> sample = sample.update(torch.tensor([[0.0], [3.0]]), torch.tensor([0, 1]), torch.Generator())
    >>> sample.compute().value
    tensor(6., dtype=torch.float64)
    """

    features: Tensor  # at most capacity x d
    labels: Tensor
    keys: Tensor
    seen: Tensor  # one integer: how many samples went by
    capacity: int

    @classmethod
    def empty(cls, capacity: int = 2048) -> FeatureSample:
        """Nothing seen yet."""
        if capacity < 2:
            raise ValueError(f"capacity is {capacity}; an energy needs at least 2 samples")
        nothing = torch.empty(0)
        return cls(nothing, nothing.long(), nothing.double(), torch.tensor(0), capacity)

    def update(self, features: Tensor, labels: Tensor, generator: torch.Generator) -> FeatureSample:
        """With one more batch of features n x d and labels n."""
        features = samples(features.detach(), "features", at_least=1)
        _check_labels(labels, len(features))
        keys = torch.rand(len(features), dtype=torch.float64, generator=generator)
        count = torch.tensor(len(features))
        return self.merge(FeatureSample(features, labels.to(features.device), keys, count, self.capacity))

    def merge(self, other: FeatureSample) -> FeatureSample:
        """With the samples of `other` after these."""
        if self.capacity != other.capacity:
            raise ValueError(f"capacities {self.capacity} and {other.capacity} differ; merge like with like")
        if not len(self.keys) or not len(other.keys):
            kept, seen = self if len(self.keys) else other, self.seen + other.seen
            return FeatureSample(kept.features, kept.labels, kept.keys, seen, self.capacity)._fit()
        if self.features.shape[1] != other.features.shape[1]:
            widths = self.features.shape[1], other.features.shape[1]
            raise ValueError(f"features have {widths[0]} and {widths[1]} numbers; merge like with like")
        return FeatureSample(
            torch.cat([self.features, other.features.to(self.features)]),
            torch.cat([self.labels, other.labels.to(self.labels)]),
            torch.cat([self.keys, other.keys]),
            self.seen + other.seen,
            self.capacity,
        )._fit()

    def compute(self, *, unbiased: bool = False, statistic: Statistic = energy) -> Estimate:
        """The energy dependence of the stored samples and its standard error."""
        if not len(self.keys):
            raise ValueError("no batch was seen yet; update() at least once first")
        return dependence_estimate(self.features, self.labels, unbiased=unbiased, statistic=statistic)

    def _fit(self) -> FeatureSample:
        if len(self.keys) <= self.capacity:
            return self
        stay = self.keys.topk(self.capacity, largest=False).indices.sort().values
        place = stay.to(self.features.device)
        return FeatureSample(self.features[place], self.labels[place], self.keys[stay], self.seen, self.capacity)


# --- inside ---


def _add_by_class(values: Tensor, index: Tensor, axis: int) -> Tensor:
    """Sums over the samples of each class along `axis`: a product with one-hot labels, without its zeros."""
    shape = list(values.shape)
    shape[axis] = int(index.max()) + 1
    return values.new_zeros(shape, dtype=torch.float64).index_add_(axis, index, values.double())


def _pairs(n, unbiased: bool):
    return n * (n - 1) if unbiased else n * n


def _pairwise(pairs: ClassPairs, unbiased: bool, statistic: Statistic) -> Tensor:
    """The statistic for every two classes: *batch x p x p."""
    means = pairs.between / torch.outer(pairs.counts, pairs.counts)
    sums_within = pairs.between.diagonal(dim1=-2, dim2=-1)
    within = sums_within / _pairs(pairs.counts, unbiased)
    values = statistic(means, within.unsqueeze(-1), within.unsqueeze(-2))
    itself = torch.eye(len(pairs.counts), dtype=torch.bool, device=values.device)
    return values.masked_fill(itself & ~within.isnan().unsqueeze(-1), 0)


def _largest(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The largest value over different classes and the two classes where it lies, each *batch."""
    p = values.shape[-1]
    upper = torch.ones(p, p, dtype=torch.bool, device=values.device).triu(1)
    candidates = values.where(upper & ~values.isnan(), -torch.inf).flatten(-2)
    value, place = candidates.max(-1)
    if value.isneginf().any():
        raise ValueError("fewer than two classes have two samples; the unbiased energy needs them, eq. 4 does not")
    return value, place // p, place % p


def _left_out(pairs: ClassPairs, own: Tensor, other: Tensor, unbiased: bool, statistic: Statistic) -> Tensor:
    """The jackknife variance of the statistic between two classes from leaving out samples of `own`."""
    own, other = own.unsqueeze(-1), other.unsqueeze(-1)
    n, m = pairs.counts[own], pairs.counts[other]
    to_own, to_other = (_take(pairs.to_class, c) for c in (own, other))
    within_other = _entry(pairs.between, other, other) / _pairs(m, unbiased)
    left = statistic(
        (_entry(pairs.between, own, other) - to_other) / ((n - 1) * m),
        (_entry(pairs.between, own, own) - 2 * to_own) / _pairs(n - 1, unbiased),
        within_other.expand_as(to_own),
    )
    member = pairs.index == own
    centre = left.where(member, 0).sum(-1, keepdim=True) / n
    scatter = (left - centre).square().where(member, 0).sum(-1)
    return ((n - 1) / n).squeeze(-1) * scatter


def _take(to_class: Tensor, c: Tensor) -> Tensor:
    """Column c of each *batch x n x p: *batch x n."""
    index = c.unsqueeze(-1).expand(*to_class.shape[:-1], 1)
    return to_class.gather(-1, index).squeeze(-1)


def _entry(between: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Entry (row, column) of each *batch x p x p: *batch x 1."""
    return between.flatten(-2).gather(-1, row * between.shape[-1] + column)


def _check_labels(labels: Tensor, n: int) -> None:
    if not isinstance(labels, Tensor) or labels.is_floating_point() or labels.is_complex():
        kind = labels.dtype if isinstance(labels, Tensor) else type(labels).__name__
        raise TypeError(f"labels are {kind}; pass a tensor of integers, or bin real targets by quantile_labels()")
    if labels.shape != (n,):
        raise ValueError(f"labels have shape {tuple(labels.shape)}; {n} samples need shape ({n},)")
