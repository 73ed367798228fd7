"""Joint counts: all that binned information needs, and all that is kept of a stream."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from infoprune.estimators.moments import Estimate, samples
from infoprune.estimators.mutual_information.cells import cells_of, combined
from infoprune.estimators.mutual_information.permuted import permuted_means
from infoprune.estimators.mutual_information.plug_in import MutualInformation, repeated, terms_of, terms_once
from infoprune.estimators.mutual_information.tables import Patterns, Table, changes, settled_table

PENDING = 1 << 24  # rows that may wait before they are sorted


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
        """Nothing counted yet.

        Args:
            low: The smallest value of each feature.
            high: The largest.
            clusters: How many labels each task has.
            bins: Into how many codes the range of a feature is divided.
        """
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
        label = combined(labels, self.clusters, x.shape[1]).cpu()
        cells = cells_of(x, self.low, self.high, self.bins, len(self.label_counts)).cpu()
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
        table = settled_table([self.table, other.table], self.pending + other.pending)
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
            null=permuted_means([feature.sizes for feature in features], by_task),
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
            rows = changes(pattern).cumsum(0) - 1
            yield Patterns(rows, label.long(), count, torch.bincount(rows, count.double()).long())

    def _plug_in(self, feature: Patterns) -> Tensor:
        """sum p log p/(q r), sum p log^2 p/(q r) and how many joint cells occur: 3 x tasks."""
        single = (feature.sizes == 1)[feature.rows]
        met = torch.bincount(feature.labels[single], minlength=len(self.label_counts))
        several = repeated(feature, ~single)
        terms = []
        for task in range(len(self.clusters)):
            share = self._by_task(self.label_counts, task).double() / self.samples
            once = self._by_task(met, task)  # patterns seen once: their ratio is one over the share of their label
            terms.append(
                terms_once(once, 1 / share, once) + terms_of(several, self._digit(several.labels, task), share)
            )
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
        return replace(self, table=settled_table([self.table], self.pending), pending=()) if self.pending else self
