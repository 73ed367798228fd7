"""The estimate from whole samples."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from infoprune.estimators.moments import samples
from infoprune.estimators.mutual_information.bins import value_range
from infoprune.estimators.mutual_information.cells import dense_labels
from infoprune.estimators.mutual_information.counts import JointCounts
from infoprune.estimators.mutual_information.plug_in import MutualInformation

COMBINATIONS = 1 << 12  # of labels of several tasks; beyond, tasks are counted one by one


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
    tasks, sizes = dense_labels(labels, x.shape[-2])
    batch = x.shape[:-2]
    shape = (*batch, len(sizes)) if labels.dim() == 2 else batch
    if not math.prod(batch):
        return MutualInformation(*[torch.empty(shape, dtype=torch.float64)] * len(MutualInformation._fields))
    flat = x.reshape(-1, *x.shape[-2:])
    low, high = value_range(flat)
    together = math.prod(sizes) <= COMBINATIONS
    groups = [slice(None)] if together else [slice(task, task + 1) for task in range(len(sizes))]
    results = [
        JointCounts.empty(low, high, clusters=sizes[group], bins=bins).update(flat, tasks[group]).compute()
        for group in groups
    ]
    return MutualInformation(*(torch.cat(fields, -1).reshape(shape) for fields in zip(*results, strict=True)))
