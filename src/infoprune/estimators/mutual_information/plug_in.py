"""What is estimated, and the sums of plug-in terms."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from infoprune.estimators.mutual_information.tables import Patterns

PATTERNS_AT_ONCE = 1 << 14  # small enough to stay in the processor's cache, with a handful of clusters
SATURATED = 0.9


def bits(nats: Tensor) -> Tensor:
    """Nats as bits.

    >>> bits(torch.tensor(2.0).log())
    tensor(1.)
    """
    return nats / math.log(2)


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


def repeated(feature: Patterns, inside: Tensor) -> Patterns:
    """Only the patterns that occur more than once, whose rows are `inside`."""
    several = feature.sizes > 1
    rows = (several.cumsum(0) - 1)[feature.rows[inside]]
    return Patterns(rows, feature.labels[inside], feature.counts[inside], feature.sizes[several])


def terms_of(feature: Patterns, labels: Tensor, share: Tensor) -> Tensor:
    """The terms of patterns that meet these labels, some patterns at a time: 3."""
    sums = torch.zeros(3, dtype=torch.float64)
    for start in range(0, len(feature.sizes), PATTERNS_AT_ONCE):
        size = feature.sizes[start : start + PATTERNS_AT_ONCE].double()
        part = slice(*torch.searchsorted(feature.rows, torch.tensor([start, start + len(size)])).tolist())
        place = (feature.rows[part] - start) * len(share) + labels[part]
        joint = torch.bincount(place, feature.counts[part].double(), len(size) * len(share))
        sums += terms_once(joint, joint / torch.outer(size, share).flatten(), joint > 0)
    return sums


def terms_once(count: Tensor, ratio: Tensor, occurring: Tensor) -> Tensor:
    """The sums of count log ratio, of count log^2 ratio and of what occurs: 3."""
    log_ratio = ratio.where(count > 0, 1.0).log()
    once = count * log_ratio
    return torch.stack([once.sum(), (once * log_ratio).sum(), occurring.double().sum()])
