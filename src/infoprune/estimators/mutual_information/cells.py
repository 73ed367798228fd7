"""A number for each pattern of each feature, and one for the labels of all tasks."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from infoprune.estimators.mutual_information.bins import uniform_codes

EXACT_FLOATS = 52  # whole numbers below 2^52 pass through float64 unharmed
KEY_BITS = 62  # whole numbers below 2^62 fit an int64 with a bit to spare
ODD = (0x5851F42D4C957F2D, 0x14057B7EF767814F)  # multipliers that mix hashes, modulo 2^64
NUMBERS_AT_ONCE = 1 << 18  # the same for patches


def cells_of(x: Tensor, low: Tensor, high: Tensor, bins: int, combinations: int) -> Tensor:
    """A number for each (feature, pattern) of patches features x n x d: features x n, int64.

    Mixed radix, hence exact, if all keys fit; else a random linear hash of 64 bits, the same in every
    process. Sums of codes times multipliers stay below 2^52, so a float64 matrix product computes them
    without rounding.
    """
    features, _, width = x.shape
    numbers = torch.arange(features, device=x.device).unsqueeze(-1)
    patterns = bins**width
    if patterns < 2**EXACT_FLOATS and patterns * features * combinations < 2**KEY_BITS:
        radix = torch.tensor([float(bins) ** digit for digit in range(width)], dtype=torch.float64)
        return _coded_sums(x, low, high, bins, [radix])[0] + numbers * patterns
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


def dense_labels(labels: Tensor, n: int) -> tuple[Tensor, list[int]]:
    """Labels n or tasks x n of any integers as tasks x n of 0, 1, ..., and how many each task has."""
    if not isinstance(labels, Tensor) or labels.is_floating_point() or labels.is_complex():
        kind = labels.dtype if isinstance(labels, Tensor) else type(labels).__name__
        raise TypeError(f"labels are {kind}; pass integers, such as those of cluster_outputs()")
    if labels.dim() not in (1, 2) or labels.shape[-1] != n:
        raise ValueError(f"labels have shape {tuple(labels.shape)}; {n} samples need shape ({n},) or (tasks, {n})")
    dense = [task.unique(return_inverse=True) for task in labels.reshape(-1, n)]
    return torch.stack([index for _, index in dense]), [len(values) for values, _ in dense]


def combined(labels: Tensor, clusters: tuple[int, ...], n: int) -> Tensor:
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
