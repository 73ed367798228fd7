"""Bringing the scores of different groups to one scale, in torch-pruning's words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from infoprune.registry import nearest

Word = Literal["mean", "sum", "max", "standarization", "gaussian", "lamp"]
Normalizer = Word | str | Callable[[Tensor], Tensor] | None


def check_normalizer(normalizer: Normalizer) -> None:
    """Accepts None, a function, a word, or `sentinel_0.5` with any fraction in [0, 1]."""
    if normalizer is None or callable(normalizer) or normalizer in WORDS:
        return
    if _sentinel_fraction(normalizer) is None:
        known = [*WORDS, "sentinel_0.5"]
        raise ValueError(f"there is no normalizer {normalizer!r}; {nearest(str(normalizer), known)}")


def normalise(scores: Tensor, normalizer: Normalizer) -> Tensor:
    """Scores on another scale and in the same order; equal scores stay equal and finite ones finite.

    `mean`, `sum` and `max` divide by the size of that number, `sentinel_q` by the size of the q-quantile;
    `standarization` (torch-pruning's spelling) is min-max to [0, 1], `gaussian` subtracts the mean and
    divides by the standard deviation, `lamp` divides each score by the sum of those not smaller. Where the
    divisor is zero the scores are returned as they are, or as zeros if it measured their spread.

    >>> normalise(torch.tensor([1.0, 3.0]), "mean"), normalise(torch.tensor([-1.0, -3.0]), "mean")
    (tensor([0.5000, 1.5000]), tensor([-0.5000, -1.5000]))
    >>> normalise(torch.tensor([2.0, 2.0]), "standarization")
    tensor([0., 0.])
    """
    if normalizer is None:
        return scores
    if callable(normalizer):
        return normalizer(scores)
    if normalizer in WORDS:
        return WORDS[normalizer](scores)
    return _sentinel(scores, _sentinel_fraction(normalizer))


def min_max(scores: Tensor) -> Tensor:
    """(x - min) / (max - min), in [0, 1]; all zero where the scores differ by no more than rounding."""
    low, high = scores.min(), scores.max()
    noise = 8 * torch.finfo(scores.dtype).eps * torch.maximum(low.abs(), high.abs())
    return torch.where(high - low > noise, (scores - low) / (high - low), 0.0)


def _over(scores: Tensor, divisor: Tensor) -> Tensor:
    negligible = torch.finfo(scores.dtype).eps ** 2 * scores.abs().max()
    return torch.where(divisor.abs() > negligible, scores / divisor.abs(), scores)


def _gaussian(scores: Tensor) -> Tensor:
    centred = scores - scores.mean()
    deviation = (centred.square().sum() / max(1, len(scores) - 1)).sqrt()
    noise = 8 * torch.finfo(scores.dtype).eps * scores.abs().max()
    return torch.where(deviation > noise, centred / deviation, 0.0)


def _lamp(scores: Tensor) -> Tensor:
    """Shifted to start at zero if any score is negative, for LAMP speaks of magnitudes."""
    magnitude = scores - scores.min().clamp(max=0)
    ascending, order = magnitude.sort(stable=True)
    not_smaller = ascending.flip(0).cumsum(0).flip(0)
    first_of_ties = torch.searchsorted(ascending, ascending)
    lamp = torch.where(not_smaller > 0, ascending / not_smaller, 0.0)[first_of_ties]
    return torch.empty_like(lamp).scatter_(0, order, lamp)


def _sentinel(scores: Tensor, fraction: float | None) -> Tensor:
    assert fraction is not None
    place = min(int(fraction * len(scores)), len(scores) - 1)
    return _over(scores, scores.sort().values[place])


def _sentinel_fraction(normalizer: object) -> float | None:
    word, _, number = str(normalizer).partition("_")
    try:
        fraction = float(number)
    except ValueError:
        return None
    return fraction if word == "sentinel" and 0 <= fraction <= 1 else None


WORDS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda scores: _over(scores, scores.mean()),
    "sum": lambda scores: _over(scores, scores.sum()),
    "max": lambda scores: _over(scores, scores.max()),
    "standarization": min_max,
    "gaussian": _gaussian,
    "lamp": _lamp,
}
