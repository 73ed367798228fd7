"""Mutual information between feature patches and clustered task outputs, by binning.

The estimator of the feature selection paper (section 3.1, after Saxe et al. 2018): cut each feature map into
patches, each number of a patch into one of `bins` levels, call the whole patch a *pattern*, cluster the
spatially corresponding output patches, and take the mutual information of the joint counts of patterns and
clusters.

Where it fails, and what to use then. With wide patches nearly every pattern is unique; the estimate is then
H(Y) for every feature, whatever the feature knows, and permuted labels score the same. `MutualInformation`
says so (`saturated`) and carries the exact mean over all permutations (`null`), so that `excess` is what the
labels add. When that is saturated too, look at less of each patch: `project(x, principal_axes(x))` keeps the
two directions in which patches vary most. That is still a lower bound on the information, its patterns
repeat, and so its bias is small. A classifier or a neural bound would be tighter, and would need training, a
held-out set and a seed for every feature.

Everything is in nats; `bits()` converts.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import gammaln
from torch import Tensor

from infoprune.estimators.moments import Estimate, samples

EXACT_FLOATS = 52  # whole numbers below 2^52 pass through float64 unharmed
KEY_BITS = 62  # whole numbers below 2^62 fit an int64 with a bit to spare
ODD = (0x5851F42D4C957F2D, 0x14057B7EF767814F)  # multipliers that mix hashes, modulo 2^64
PATTERNS_AT_ONCE = 1 << 14  # small enough to stay in the processor's cache, with a handful of clusters
NUMBERS_AT_ONCE = 1 << 18  # the same for patches
PENDING = 1 << 24  # rows that may wait before they are sorted
TERMS_AT_ONCE = 1 << 16
COMBINATIONS = 1 << 12  # of labels of several tasks; beyond, tasks are counted one by one
SATURATED = 0.9


def bits(nats: Tensor) -> Tensor:
    """Nats as bits.

    >>> bits(torch.tensor(2.0).log())
    tensor(1.)
    """
    return nats / math.log(2)


# --- the estimate ---


def binned(x: Tensor, labels: Tensor, *, bins: int = 30) -> Tensor:
    """Plug-in I(patterns of x; labels) in nats: the paper's estimator, from joint counts.

    `x` holds *batch features of n samples with d numbers each (or is n numbers); `labels` are n integers, or
    tasks x n. Returns *batch, or *batch x tasks. Between 0 and the entropy of the labels. Each feature is cut
    into `bins` equal bins between its own minimum and maximum (see `uniform_codes` for what scaling does).
    Biased up, by about (patterns - 1) (clusters - 1) / 2n while patterns repeat, and up to H(labels) when
    they do not: `estimate` measures that.

    >>> x = torch.tensor([0.0, 0.1, 0.9, 1.0])
    >>> binned(x, torch.tensor([3, 3, 5, 5]), bins=2)
    tensor(0.6931, dtype=torch.float64)
    """
    return estimate(x, labels, bins=bins).value


def estimate(x: Tensor, labels: Tensor, *, bins: int = 30) -> MutualInformation:
    """`binned`, with its standard error, its value under permuted labels and its signs of saturation.

    >>> x = torch.arange(8.0)
    >>> result = estimate(x, torch.tensor([0, 1, 0, 1, 0, 1, 0, 1]), bins=8)
    >>> round(result.value.item(), 6), abs(round(result.excess.item(), 6)), result.saturated.item()
    (0.693147, 0.0, True)
    """
    x = samples(x, "x")
    tasks, sizes = _dense_labels(labels, x.shape[-2])
    batch = x.shape[:-2]
    flat = x.reshape(-1, *x.shape[-2:])
    low, high = value_range(flat)
    together = math.prod(sizes) <= COMBINATIONS
    groups = [slice(None)] if together else [slice(task, task + 1) for task in range(len(sizes))]
    results = [
        JointCounts.empty(low, high, clusters=sizes[group], bins=bins).update(flat, tasks[group]).compute()
        for group in groups
    ]
    shape = (*batch, len(sizes)) if labels.dim() == 2 else batch
    return MutualInformation(*(torch.cat(fields, -1).reshape(shape) for fields in zip(*results, strict=True)))


class MutualInformation(NamedTuple):
    """Estimates in nats, features x tasks; `bits()` of any field converts."""

    value: Tensor  # plug-in, biased up
    standard_error: Tensor  # of `value`, first order; somewhat too large near independence
    null: Tensor  # mean of `value` over all permutations of the labels, exactly
    miller_madow: Tensor  # value - (joint cells - patterns - clusters + 1) / 2n of those that occur; too timid
    label_entropy: Tensor  # no estimate can exceed it
    unique_fraction: Tensor  # different patterns / samples

    @property
    def excess(self) -> Tensor:
        """value - null: mean zero for independent labels; the default score, with `standard_error`."""
        return self.value - self.null

    @property
    def saturated(self) -> Tensor:
        """Whether permuted labels score 90 % of H(labels) or more: then `value` says next to nothing."""
        return self.null >= SATURATED * self.label_entropy


# --- bins ---


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


# --- patches and clusters ---


def patches(maps: Tensor, size: int) -> Tensor:
    """Feature maps images x channels x h x w as channels x (images * rows * columns) x size^2 patches.

    Rows and columns that do not fill a patch at the lower and right border are left out.

    >>> patches(torch.arange(8.0).reshape(1, 1, 2, 4), 2)
    tensor([[[0., 1., 4., 5.],
             [2., 3., 6., 7.]]])
    """
    if maps.dim() != 4:
        raise ValueError(f"maps have shape {tuple(maps.shape)}; pass images x channels x height x width")
    images, channels, height, width = maps.shape
    rows, columns = (side // size if size > 0 else 0 for side in (height, width))
    if not rows * columns:
        raise ValueError(f"no patch of size {size} fits maps of {height} x {width}; choose 1 to {min(height, width)}")
    grid = maps[..., : rows * size, : columns * size].reshape(images, channels, rows, size, columns, size)
    return grid.permute(1, 0, 2, 4, 3, 5).reshape(channels, images * rows * columns, size * size)


def corresponding_patches(features: Tensor, outputs: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Patches of features and of what lies at the same place in an output image (the paper's fig. 1).

    Features images x channels x h x w give channels x n x size^2; outputs images x c x H x W, where H / h = W
    / w, give n x (c M^2) with M = size H / h.

    >>> x, y = corresponding_patches(torch.rand(2, 5, 4, 8), torch.rand(2, 3, 16, 32), 2)
    >>> x.shape, y.shape
    (torch.Size([5, 16, 4]), torch.Size([16, 192]))
    """
    (images, _, h, w), (others, _, height, width) = features.shape, outputs.shape
    side = size * height // h
    if images != others or height * w != width * h or side * h != size * height:
        raise ValueError(
            f"{images} features of {h} x {w} and {others} outputs of {height} x {width} do not correspond in "
            f"patches of {size}; resize the outputs to a multiple of the features"
        )
    kept = outputs[..., : (h // size) * side, : (w // size) * side] if h >= size and w >= size else outputs
    return patches(features, size), patches(kept, side).permute(1, 0, 2).flatten(1)


def cluster_centres(points: Tensor, clusters: int, *, seed: int) -> Tensor:
    """The centres, clusters x d, that scikit-learn's k-means finds among `points` n x d from this seed."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    points = samples(points, "points", at_least=1)
    if not 1 <= clusters <= len(points):
        raise ValueError(f"clusters is {clusters}; it must lie between 1 and the number of points, {len(points)}")
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            fitted = KMeans(clusters, n_init="auto", random_state=seed).fit(points.cpu().numpy())
        except ConvergenceWarning as warning:
            raise ValueError(f"{clusters} clusters need as many different points; ask for fewer") from warning
    return torch.from_numpy(fitted.cluster_centers_)


def nearest_centre(points: Tensor, centres: Tensor) -> Tensor:
    """The index of the nearest of `centres` K x d to each of `points` n x d (or n numbers): n integers."""
    points = points.unsqueeze(-1) if points.dim() == 1 else points
    return torch.cdist(points.to(centres), centres).argmin(-1)


def cluster_outputs(points: Tensor, clusters: int, *, seed: int) -> Tensor:
    """Output patches n x d as n cluster indices, by scikit-learn's k-means with this seed."""
    return nearest_centre(points, cluster_centres(points, clusters, seed=seed))


# --- streaming ---


class Table(NamedTuple):
    """How often each (feature, pattern, combined label) occurred, a row for each, by feature and key."""

    key: Tensor  # identifies pattern and label; key - label identifies the pattern
    label: Tensor
    count: Tensor
    offsets: Tensor  # features + 1: where the rows of each feature begin, and where they end

    def of(self, feature: int) -> tuple[Tensor, Tensor, Tensor]:
        """Key, label and count of one feature."""
        rows = slice(int(self.offsets[feature]), int(self.offsets[feature + 1]))
        return self.key[rows], self.label[rows], self.count[rows]


class Patterns(NamedTuple):
    """The patterns of one feature."""

    rows: Tensor  # which pattern each row of the table is about, ascending
    labels: Tensor  # the combined label of each row
    counts: Tensor  # how often each row occurred
    sizes: Tensor  # how often each pattern occurred


@dataclass(frozen=True)
class JointCounts:
    """How often each pattern of each feature met each label of each task: all that binned information needs.

    Bins and numbers of clusters are fixed from the start; numbers outside a feature's range fall into its
    outer bins. `update` and `merge` in any order give the same counts, exactly. Memory is 16 bytes for each
    different (feature, pattern, labels) that occurs, and as much again while new ones wait, whatever the
    number of samples; only when every pattern is unique that is the number of samples. Patterns wider than
    2^52 possibilities are kept as 64-bit hashes, of which two in a million million collide; a collision
    merges two patterns and can only lower the estimate.

    >>> x, y = torch.rand(3, 100, 1), torch.randint(2, (1, 100))
    >>> counts = JointCounts.empty(torch.zeros(3), torch.ones(3), clusters=[2], bins=4)
    >>> whole = counts.update(x, y).compute().value
    >>> parts = counts.update(x[:, :50], y[:, :50]).merge(counts.update(x[:, 50:], y[:, 50:]))
    >>> torch.equal(whole, parts.compute().value)
    True
    """

    low: Tensor  # features
    high: Tensor  # features
    clusters: tuple[int, ...]
    bins: int
    label_counts: Tensor  # one for each combination of labels of all tasks
    table: Table
    pending: tuple[tuple[Tensor, Tensor], ...] = ()  # keys features x n and labels n, not yet in the table

    @classmethod
    def empty(cls, low: Tensor, high: Tensor, *, clusters: Sequence[int], bins: int = 30) -> JointCounts:
        """Nothing counted yet, for features with these ranges and tasks with these numbers of clusters."""
        if bins < 1 or not clusters or min(clusters) < 1:
            raise ValueError(f"bins is {bins} and clusters {tuple(clusters)}; all must be at least 1")
        if low.dim() != 1 or low.shape != high.shape or not (low <= high).all():
            raise ValueError(f"ranges have shapes {tuple(low.shape)} and {tuple(high.shape)}; low <= high is needed")
        if math.prod(clusters) >= 1 << 31:
            raise ValueError(f"clusters {tuple(clusters)} have over 2^31 combinations; count fewer tasks at once")
        nothing = torch.empty(0, dtype=torch.int64)
        table = Table(nothing, nothing.int(), nothing.int(), torch.zeros(len(low) + 1, dtype=torch.int64))
        return cls(low, high, tuple(clusters), bins, torch.zeros(math.prod(clusters), dtype=torch.int64), table)

    @property
    def samples(self) -> int:
        """How many samples of each feature were counted."""
        return int(self.label_counts.sum())

    def update(self, x: Tensor, labels: Tensor) -> JointCounts:
        """With n more samples: features x n x d patches and tasks x n labels in 0 ... clusters - 1."""
        x = samples(x, "x", at_least=1)
        if x.dim() != 3 or len(x) != len(self.low):
            raise ValueError(f"x has shape {tuple(x.shape)}; pass {len(self.low)} features x n x d")
        label = _combined(labels, self.clusters, x.shape[1]).cpu()
        cells = _cells(x, self.low, self.high, self.bins, len(self.label_counts)).cpu()
        waiting = (cells * len(self.label_counts) + label, label.int())
        counted = self.label_counts + torch.bincount(label, minlength=len(self.label_counts))
        grown = replace(self, label_counts=counted, pending=(*self.pending, waiting))
        long = sum(keys.numel() for keys, _ in grown.pending) > max(PENDING, len(self.table.key))
        return grown._settled() if long else grown

    def merge(self, other: JointCounts) -> JointCounts:
        """With everything `other` counted, in the same bins."""
        same = torch.equal(self.low, other.low) and torch.equal(self.high, other.high)
        if not same or (self.bins, self.clusters) != (other.bins, other.clusters):
            raise ValueError("these counts have different bins or clusters; start both from the same empty()")
        table = _settle([self.table, other.table], self.pending + other.pending)
        return replace(self, label_counts=self.label_counts + other.label_counts, table=table, pending=())

    def compute(self) -> MutualInformation:
        """The estimates, features x tasks."""
        features = list(self._patterns())
        sums = torch.stack([self._plug_in(feature) for feature in features], 1)
        value, second_moment, joint = sums[0].clamp(min=0), sums[1], sums[2]
        by_task = [self._by_task(self.label_counts, task) for task in range(len(self.clusters))]
        different = torch.tensor([[len(feature.sizes)] for feature in features]).expand_as(value).double()
        used = torch.tensor([int((by_label > 0).sum()) for by_label in by_task])
        shares = [by_label[by_label > 0].double() / self.samples for by_label in by_task]
        return MutualInformation(
            value=value,
            standard_error=((second_moment - value.square()).clamp(min=0) / self.samples).sqrt(),
            null=_permuted_means([feature.sizes for feature in features], by_task),
            miller_madow=value - (joint - different - used + 1) / (2 * self.samples),
            label_entropy=torch.stack([-(p * p.log()).sum() for p in shares]).expand_as(value),
            unique_fraction=different / self.samples,
        )

    def permutation_null(self, draws: int, generator: torch.Generator) -> Estimate:
        """The mean of the plug-in estimate over random permutations of the labels, features x tasks.

        `standard_error` is that of the mean; times sqrt(draws) it is the spread of a single estimate without
        information. The mean over *all* permutations is `compute().null`.
        """
        if draws < 2:
            raise ValueError(f"draws is {draws}; a spread needs at least 2")
        label = torch.arange(len(self.label_counts)).repeat_interleave(self.label_counts)
        once = torch.ones_like(label)
        values = []
        for feature in self._patterns():
            rows = torch.arange(len(feature.sizes)).repeat_interleave(feature.sizes)
            orders = (torch.randperm(len(label), generator=generator) for _ in range(draws))
            drawn = (Patterns(rows, label[order], once, feature.sizes) for order in orders)
            values.append(torch.stack([self._plug_in(patterns)[0] for patterns in drawn]))
        every = torch.stack(values, 1)
        return Estimate(every.mean(0), every.std(0) / math.sqrt(draws))

    def _patterns(self) -> Iterator[Patterns]:
        """The patterns of each feature in turn."""
        if not self.samples:
            raise ValueError("no batch was seen yet; update() at least once first")
        table = self._settled().table
        for feature in range(len(self.low)):
            key, label, count = table.of(feature)
            pattern = key - label
            rows = _changes(pattern).cumsum(0) - 1
            yield Patterns(rows, label.long(), count, torch.bincount(rows, count.double()).long())

    def _plug_in(self, feature: Patterns) -> Tensor:
        """sum p log p/(q r), sum p log^2 p/(q r) and how many joint cells occur: 3 x tasks."""
        single = (feature.sizes == 1)[feature.rows]
        met = torch.bincount(feature.labels[single], minlength=len(self.label_counts))
        repeated = _repeated(feature, ~single)
        terms = []
        for task in range(len(self.clusters)):
            share = self._by_task(self.label_counts, task).double() / self.samples
            once = self._by_task(met, task)  # patterns seen once: their ratio is one over the share of their label
            terms.append(_terms(once, 1 / share, once) + _terms_of(repeated, self._digit(repeated.labels, task), share))
        weight = torch.tensor([self.samples, self.samples, 1.0], dtype=torch.float64)
        return torch.stack(terms, 1) / weight.unsqueeze(1)

    def _digit(self, label: Tensor, task: int) -> Tensor:
        """The label of one task out of the combined one."""
        return label // math.prod(self.clusters[task + 1 :]) % self.clusters[task]

    def _by_task(self, counts: Tensor, task: int) -> Tensor:
        """Counts of combined labels as counts of the labels of one task."""
        every = torch.arange(len(counts))
        return counts.new_zeros(self.clusters[task]).index_add_(0, self._digit(every, task), counts)

    def _settled(self) -> JointCounts:
        """The same with nothing pending. Done whenever much waits: O(n log n) over the whole stream."""
        return replace(self, table=_settle([self.table], self.pending), pending=()) if self.pending else self


# --- inside ---


def _changes(ordered: Tensor) -> Tensor:
    """Whether each entry differs from the one before; the first does."""
    return torch.cat([torch.ones(min(1, len(ordered)), dtype=torch.bool), ordered[1:] != ordered[:-1]])


def _settle(tables: list[Table], pending: tuple[tuple[Tensor, Tensor], ...]) -> Table:
    """Everything in one table. Each feature is sorted by itself, which keeps it in the processor's cache."""
    labels = [label for _, label in pending]
    ones = [torch.ones_like(label) for label in labels]
    settled = []
    for feature in range(len(tables[0].offsets) - 1):
        key, label, count = zip(*(table.of(feature) for table in tables), strict=True)
        keys = [keys[feature] for keys, _ in pending]
        settled.append(_added_up(torch.cat([*key, *keys]), torch.cat([*label, *labels]), torch.cat([*count, *ones])))
    key, label, count = (torch.cat(columns) for columns in zip(*settled, strict=True))
    lengths = torch.tensor([0] + [len(rows[0]) for rows in settled])
    return Table(key, label, count, lengths.cumsum(0))


def _added_up(key: Tensor, label: Tensor, count: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The rows in order of their keys, equal ones as one."""
    key, order = key.sort()
    first = _changes(key)
    if first.all():
        return key, label[order], count[order]
    start = first.nonzero().flatten()
    totals = count[order].cumsum(0)[torch.cat([start[1:] - 1, torch.tensor([len(key) - 1])])]
    return key[start], label[order[start]], totals.diff(prepend=totals.new_zeros(1)).int()


def _cells(x: Tensor, low: Tensor, high: Tensor, bins: int, combinations: int) -> Tensor:
    """A number for each (feature, pattern) of patches features x n x d: features x n, int64.

    Mixed radix, hence exact, if all keys fit; else a random linear hash of 64 bits, the same in every
    process. Sums of codes times multipliers stay below 2^52, so a float64 matrix product computes them
    without rounding.
    """
    features, _, width = x.shape
    numbers = torch.arange(features, device=x.device).unsqueeze(-1)
    patterns = float(bins) ** width
    if patterns < 2**EXACT_FLOATS and patterns * features * combinations < 2**KEY_BITS:
        radix = torch.tensor([float(bins) ** digit for digit in range(width)], dtype=torch.float64)
        return _coded_sums(x, low, high, bins, [radix])[0] + numbers * bins**width
    spare = EXACT_FLOATS - math.ceil(math.log2(bins * width))
    generator = torch.Generator().manual_seed(width)
    multipliers = torch.randint(1 << spare, (2, width), generator=generator).double()
    first, second = _coded_sums(x, low, high, bins, [*multipliers])
    return first * ODD[0] + second * ODD[1] + numbers * (ODD[0] ^ ODD[1])


def _coded_sums(x: Tensor, low: Tensor, high: Tensor, bins: int, multipliers: list[Tensor]) -> list[Tensor]:
    """The codes of patches features x n x d times each of the multipliers d: features x n each.

    A few features at a time; and vector by vector, which is faster than a product with a matrix of two
    columns.
    """
    multipliers = [each.to(x.device) for each in multipliers]
    some = max(1, NUMBERS_AT_ONCE // max(1, x[0].numel()))
    parts = zip(x.split(some), low.split(some), high.split(some), strict=True)
    codes = (uniform_codes(*part, bins).double() for part in parts)
    sums = [[(some_codes @ each).long() for each in multipliers] for some_codes in codes]
    return [torch.cat(column) for column in zip(*sums, strict=True)]


def _permuted_means(sizes: list[Tensor], by_task: list[Tensor]) -> Tensor:
    """The mean of the plug-in estimate over all permutations of the labels: features x tasks.

    Vinh et al. (2010). It depends on how often patterns and labels occur alone, and patterns of equal size
    contribute equally.
    """
    times = [torch.bincount(one) for one in sizes]
    feature = torch.cat([torch.full_like(one.nonzero().flatten(), f) for f, one in enumerate(times)])
    size = torch.cat([one.nonzero().flatten() for one in times])
    how_often = torch.cat([one[one > 0] for one in times]).double()
    distinct, which = size.unique(return_inverse=True)
    terms = [_permuted_terms(distinct.numpy(), labels[labels > 0].numpy(), int(labels.sum())) for labels in by_task]
    each = how_often.unsqueeze(1) * torch.from_numpy(np.stack(terms, 1))[which]
    return torch.zeros(len(sizes), len(by_task), dtype=torch.float64).index_add_(0, feature, each)


def _permuted_terms(sizes: np.ndarray, by_label: np.ndarray, n: int) -> np.ndarray:
    """sum_b E[k/n log(n k / a b)] for each a in `sizes`, k hypergeometric: a of n drawn, b of n marked.

    Only k within ten standard deviations of the mean are summed; the others weigh less than 1e-20.
    """
    a, b = (side.astype(np.float64).ravel() for side in np.broadcast_arrays(sizes[:, None], by_label[None]))
    mean = a * b / n
    spread = 10 * np.sqrt(mean * (1 - a / n) * (1 - b / n)) + 10
    low = np.maximum(np.maximum(1, a + b - n), np.floor(mean - spread))
    high = np.minimum(np.minimum(a, b), np.ceil(mean + spread))
    lengths = (high - low + 1).astype(np.int64)
    blocks = np.searchsorted(np.cumsum(lengths), np.arange(TERMS_AT_ONCE, lengths.sum(), TERMS_AT_ONCE))
    parts = np.split(np.arange(len(a)), np.unique(blocks))
    log_factorial = gammaln(np.arange(1.0, n + 2))
    sums = [_sum_terms(a[p], b[p], low[p], lengths[p], log_factorial) for p in parts if len(p)]
    return np.concatenate(sums).reshape(len(sizes), len(by_label)).sum(1)


def _sum_terms(
    a: np.ndarray, b: np.ndarray, low: np.ndarray, lengths: np.ndarray, log_factorial: np.ndarray
) -> np.ndarray:
    """One sum for each pair (a, b), over `lengths` values of k from `low` on."""
    n = len(log_factorial) - 1
    a, b, low = (side.astype(np.int64) for side in (a, b, low))
    owner = np.repeat(np.arange(len(a)), lengths)
    k = np.arange(lengths.sum()) - (np.cumsum(lengths) - lengths - low)[owner]
    fixed = sum(log_factorial[each] for each in (a, b, n - a, n - b)) - log_factorial[n]
    varying = sum(log_factorial[each] for each in (k, a[owner] - k, b[owner] - k, (n - a - b)[owner] + k))
    weight = np.exp(fixed[owner] - varying) * k / n
    return np.bincount(owner, weight * np.log(k * (n / (a * b))[owner]), len(a))


def _dense_labels(labels: Tensor, n: int) -> tuple[Tensor, list[int]]:
    """Labels n or tasks x n of any integers as tasks x n of 0, 1, ..., and how many each task has."""
    if not isinstance(labels, Tensor) or labels.is_floating_point() or labels.is_complex():
        kind = labels.dtype if isinstance(labels, Tensor) else type(labels).__name__
        raise TypeError(f"labels are {kind}; pass integers, such as those of cluster_outputs()")
    if labels.dim() not in (1, 2) or labels.shape[-1] != n:
        raise ValueError(f"labels have shape {tuple(labels.shape)}; {n} samples need shape ({n},) or (tasks, {n})")
    dense = [task.unique(return_inverse=True) for task in labels.reshape(-1, n)]
    return torch.stack([index for _, index in dense]), [len(values) for values, _ in dense]


def _combined(labels: Tensor, clusters: tuple[int, ...], n: int) -> Tensor:
    """The labels of all tasks as the digits of one number: n."""
    if labels.is_floating_point() or labels.shape != (len(clusters), n):
        raise ValueError(
            f"labels are {labels.dtype} of shape {tuple(labels.shape)}; pass integers {(len(clusters), n)}"
        )
    sizes = torch.tensor(clusters, device=labels.device).unsqueeze(-1)
    if ((labels < 0) | (labels >= sizes)).any():
        raise ValueError(f"labels lie between {int(labels.min())} and {int(labels.max())}; clusters are {clusters}")
    combined = torch.zeros(n, dtype=torch.int64, device=labels.device)
    for task, size in zip(labels, clusters, strict=True):
        combined = combined * size + task
    return combined


def _repeated(feature: Patterns, inside: Tensor) -> Patterns:
    """Only the patterns that occur more than once, whose rows are `inside`."""
    several = feature.sizes > 1
    rows = (several.cumsum(0) - 1)[feature.rows[inside]]
    return Patterns(rows, feature.labels[inside], feature.counts[inside], feature.sizes[several])


def _terms_of(feature: Patterns, labels: Tensor, share: Tensor) -> Tensor:
    """The terms of patterns that meet these labels, some patterns at a time: 3."""
    sums = torch.zeros(3, dtype=torch.float64)
    for start in range(0, len(feature.sizes), PATTERNS_AT_ONCE):
        size = feature.sizes[start : start + PATTERNS_AT_ONCE].double()
        part = slice(*torch.searchsorted(feature.rows, torch.tensor([start, start + len(size)])).tolist())
        place = (feature.rows[part] - start) * len(share) + labels[part]
        joint = torch.bincount(place, feature.counts[part].double(), len(size) * len(share))
        sums += _terms(joint, joint / torch.outer(size, share).flatten(), joint > 0)
    return sums


def _terms(count: Tensor, ratio: Tensor, occurring: Tensor) -> Tensor:
    """The sums of count log ratio, of count log^2 ratio and of what occurs: 3."""
    log_ratio = ratio.where(count > 0, 1.0).log()
    once = count * log_ratio
    return torch.stack([once.sum(), (once * log_ratio).sum(), occurring.double().sum()])
