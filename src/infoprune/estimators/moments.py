"""Means of per-batch values with standard errors, kept in bounded, mergeable, plain tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class Estimate(NamedTuple):
    """A value and its standard error, in the same units and of the same shape."""

    value: Tensor
    standard_error: Tensor


@dataclass(frozen=True)
class GroupedMean:
    """Weighted mean of per-batch values, sum_b w_b v_b / sum_b w_b, with an error from groups of batches.

    Batch b is added to group b modulo `groups`, so memory does not grow with the data. Every field is a
    plain tensor: adding the fields of several processes (an all-reduce) gives the mean of all their batches,
    and `merge` also gives exactly the groups that one process would have filled, had it seen this one's
    batches first.

    >>> seen = GroupedMean.empty().update(torch.tensor(1.0)).update(torch.tensor(3.0))
    >>> seen.mean().item(), seen.jackknife(lambda mean: mean).standard_error.item()
    (2.0, 1.0)
    """

    sums: Tensor  # groups x *shape
    weights: Tensor  # groups
    batches: Tensor  # one integer

    @classmethod
    def empty(cls, *shape: int, groups: int = 32) -> GroupedMean:
        """Nothing seen yet of values of this `shape`."""
        if groups < 2:
            raise ValueError(f"groups is {groups}; a standard error needs at least 2")
        sums = torch.zeros(groups, *shape, dtype=torch.float64)
        return cls(sums, torch.zeros(groups, dtype=torch.float64), torch.zeros((), dtype=torch.int64))

    def update(self, value: Tensor, weight: float = 1.0) -> GroupedMean:
        """With one more batch, whose value counts `weight` times."""
        if value.shape != self.sums.shape[1:]:
            raise ValueError(f"this batch has shape {tuple(value.shape)}, earlier ones {tuple(self.sums.shape[1:])}")
        group = int(self.batches) % len(self.weights)
        sums, weights = self.sums.clone(), self.weights.clone()
        sums[group] += weight * value.to(sums)
        weights[group] += weight
        return GroupedMean(sums, weights, self.batches + 1)

    def merge(self, other: GroupedMean) -> GroupedMean:
        """With the batches of `other` after these."""
        if other.sums.shape != self.sums.shape:
            raise ValueError(
                f"shapes {tuple(self.sums.shape)} and {tuple(other.sums.shape)} differ; merge like with like"
            )
        shift = int(self.batches) % len(self.weights)
        return GroupedMean(
            self.sums + other.sums.to(self.sums).roll(shift, 0),
            self.weights + other.weights.to(self.weights).roll(shift, 0),
            self.batches + other.batches.to(self.batches),
        )

    def mean(self) -> Tensor:
        """The weighted mean over all batches."""
        self._needs_batches()
        return self.sums.sum(0) / self.weights.sum()

    def jackknife(self, function: Callable[[Tensor], Tensor]) -> Estimate:
        """`function` of the mean, with its standard error by leaving out one group at a time.

        `function` is given means with one leading axis. Groups of unequal weight are handled as in Busing,
        Meijer and van der Leeden (1999). With a single group the standard error is NaN: one batch says
        nothing about it.
        """
        self._needs_batches()
        used = self.weights > 0
        sums, weights = self.sums[used], self.weights[used]
        value = function(self.mean().unsqueeze(0))[0]
        if len(weights) < 2:
            return Estimate(value, torch.full_like(value, torch.nan))
        share = _columns(weights.sum() / weights, value.dim())
        left_weights = _columns(weights.sum() - weights, self.sums.dim() - 1)
        left_out = function((sums.sum(0) - sums) / left_weights)
        pseudo = share * value - (share - 1) * left_out
        centre = (pseudo / share).sum(0)
        return Estimate(value, ((pseudo - centre).square() / (share - 1)).mean(0).sqrt())

    def _needs_batches(self) -> None:
        if int(self.batches) == 0:
            raise ValueError("no batch was seen yet; update() at least once first")


def samples(x: Tensor, name: str, at_least: int = 2) -> Tensor:
    """`x` as finite floating point samples, *batch x n x d; a vector of n numbers becomes n x 1."""
    if not isinstance(x, Tensor) or not x.is_floating_point():
        kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"{name} is {kind}; pass a floating point tensor of n samples x d numbers")
    if x.dim() == 0:
        raise ValueError(f"{name} is a single number; pass n samples x d numbers")
    x = x.unsqueeze(-1) if x.dim() == 1 else x
    if x.shape[-2] < at_least:
        raise ValueError(f"{name} has {x.shape[-2]} sample(s); at least {at_least} are needed")
    if not x.sum().isfinite() and not x.isfinite().all():  # the sum alone is fast, and may overflow
        raise ValueError(f"{name} holds NaN or infinite numbers; remove them first")
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _columns(vector: Tensor, trailing: int) -> Tensor:
    return vector.reshape(-1, *[1] * trailing)
