"""Which samples of a batch resemble each other: Gram matrices of activations, inputs and labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from infoprune.errors import UnusableData
from infoprune.estimators.hsic import distances_of, gaussian_of, median_bandwidth

BLOCK = 64  # samples in one Gram matrix: its cost per sample grows with their number
CHUNK = {"cpu": 2**18, "other": 2**26}  # numbers multiplied at once: what stays in a core's cache, or fills a GPU


def gram_of(features: Tensor) -> Tensor:
    """K_ij = <x_i - x_0, x_j - x_0> of samples n x d, exact up to rounding, without a copy of them.

    HSIC does not see the shift, which keeps the digits that a common mean would cost and leaves exactly
    zero for what is the same in all samples. Parts that fit in the cache are multiplied in float32 and
    added in float64.
    """
    n, d = features.shape
    wide = features.dtype == torch.float64
    gram = torch.zeros(n, n, dtype=torch.float64, device=features.device)
    step = max(1, CHUNK["cpu" if features.device.type == "cpu" else "other"] // n)
    for part in features.split(step, dim=1) if d else ():
        shifted = (part if wide else part.float()) - part[:1]
        gram += shifted @ shifted.T
    return gram


def similarity(values: Tensor) -> Tensor:
    """Gram matrix of inputs, outputs or labels: the share of equal integers, else the inner product."""
    flat = values.reshape(len(values), -1)
    if flat.is_floating_point():
        return gram_of(flat)
    gram = torch.zeros(len(flat), len(flat), dtype=torch.float64, device=flat.device)
    for column in flat.split(max(1, CHUNK["cpu"] // len(flat) ** 2), dim=1):
        gram += (column[:, None] == column[None]).sum(-1)
    return gram / flat.shape[1]


def with_kernel(gram: Tensor, kernel: str | None) -> Tensor:
    """Of inner products n x n: the Gaussian kernel at the median distance, or else the linear one as it is."""
    if kernel != "gaussian":
        return gram
    squared = distances_of(gram)
    width = median_bandwidth(squared)
    return gaussian_of(squared, width) if width > 0 else torch.ones_like(gram)  # constant: HSIC is zero


def by_sample(values: Tensor, n: int) -> Tensor | None:
    """As n x d, features in the order of memory where that saves a copy; None if no axis counts the samples.

    Samples are the first axis, else the second (sequence-first attention), else the first axis holds the
    windows of one sample after the other.
    """
    if values.dim() == 0 or values.numel() == 0:
        return None
    if len(values) != n and values.dim() > 1 and values.shape[1] == n:
        values = values.movedim(1, 0)
    if len(values) % n:
        return None
    if values.dim() == 4 and not values.is_contiguous() and values.is_contiguous(memory_format=torch.channels_last):
        values = values.movedim(1, -1)
    return values.reshape(n, -1)


def blocks(n: int) -> list[slice]:
    """Parts of nearly equal size, none larger than a Gram matrix should be."""
    count = math.ceil(n / BLOCK)
    edges = [round(i * n / count) for i in range(count + 1)]
    return [slice(a, b) for a, b in pairwise(edges)]


def require_finite(names: Sequence[str], grams: Sequence[Tensor]) -> None:
    bad = [name for name, gram in zip(names, grams, strict=True) if not bool(gram.isfinite().all())]
    if bad:
        raise UnusableData(f"{bad[0]} gave out NaN or infinite numbers; check the model's weights and the inputs")
