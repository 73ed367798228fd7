"""Two ways of selecting features beside each other: task distortion, the weights for which one wins, rate saved."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Better = Literal["higher", "lower"]


def task_distortion(full: float, selected: float) -> float:
    """D_j = |A_j(C) - A_j(C')| / A_j(C) (eq. 8), of scores with all features and with some.

    >>> task_distortion(0.5, 0.375)
    0.25
    """
    if not full:
        raise ValueError("the score with all features is 0, so that nothing is a fraction of it")
    return abs(full - selected) / abs(full)


def total_distortion(distortions: Mapping[str, float], weights: Mapping[str, float]) -> float:
    """D = sum_j w_j D_j (eq. 9), with weights that add up to 1."""
    if set(weights) != set(distortions) or min(weights.values()) < 0 or not math.isclose(sum(weights.values()), 1):
        raise ValueError(f"weights {dict(weights)} must be positive, add up to 1 and name {sorted(distortions)}")
    return sum(weights[task] * distortion for task, distortion in distortions.items())


@dataclass(frozen=True, eq=False)
class WinnerMap:
    """Which of two ways has the lower total distortion, over the triangle of three tasks' weights (fig. 8).

    `share` is the exact part of the triangle where the first wins; `weights` is a regular grid on it, and `margin` the
    second's total distortion less the first's there, positive where the first wins.
    """

    tasks: tuple[str, str, str]
    share: float
    weights: Tensor  # points x 3
    margin: Tensor  # points


def winner_map(first: Mapping[str, float], second: Mapping[str, float], *, steps: int = 100) -> WinnerMap:
    """Where the first's task distortions add up to less than the second's.

    >>> winner_map({"a": 0.1, "b": 0.1, "c": 0.4}, {"a": 0.2, "b": 0.2, "c": 0.2}).share
    0.5555555555555556
    """
    tasks = tuple(first)
    if len(tasks) != 3 or set(second) != set(tasks):
        raise ValueError(f"distortions of {list(first)} and {list(second)}; a triangle needs the same three tasks")
    gains = torch.tensor([second[task] - first[task] for task in tasks], dtype=torch.float64)
    grid = [(i, j, steps - i - j) for i in range(steps + 1) for j in range(steps + 1 - i)]
    weights = torch.tensor(grid, dtype=torch.float64) / steps
    return WinnerMap(tasks, positive_share(gains.tolist()), weights, weights @ gains)


def positive_share(gains: Sequence[float]) -> float:
    """The part of the triangle w_i >= 0, sum w = 1 where sum_i w_i g_i > 0; half of it where all gains are 0.

    A line cuts off the corner whose sign differs from that of the others, a triangle with the share
    g_1^2 / ((g_1 - g_2) (g_1 - g_3)) of the area.
    """
    if not any(gains):
        return 0.5
    above = [g for g in gains if g > 0]
    below = [g for g in gains if g <= 0]
    if not above or not below:
        return float(bool(above))
    (alone,), others = (above, below) if len(above) == 1 else (below, above)
    corner = alone**2 / ((alone - others[0]) * (alone - others[1]))
    return corner if len(above) == 1 else 1 - corner


def rate_difference(
    reference: Sequence[tuple[float, float]], tested: Sequence[tuple[float, float]], *, better: Better = "higher"
) -> float:
    """Bjontegaard's mean difference of rate at equal score, in percent; negative: `tested` needs fewer bytes.

    Both are (bytes, score) points, at least two different scores each; log rate is interpolated by monotone cubics
    over the scores that both reach, NaN where they have none in common. A point that costs more than another and
    scores no better is left out. `better="lower"` for errors.

    >>> round(rate_difference([(100, 30), (200, 33), (400, 36)], [(50, 30), (100, 33), (200, 36)]), 6)
    -50.0
    """
    from scipy.interpolate import PchipInterpolator

    curves = [_frontier(points, better) for points in (reference, tested)]
    low, high = max(scores[0] for scores, _ in curves), min(scores[-1] for scores, _ in curves)
    if any(len(scores) < 2 for scores, _ in curves) or low >= high:
        return math.nan
    means = [PchipInterpolator(*curve).integrate(low, high) / (high - low) for curve in curves]
    return float(100 * math.expm1(means[1] - means[0]))


def _frontier(points: Sequence[tuple[float, float]], better: Better) -> tuple[np.ndarray, np.ndarray]:
    """Scores (higher is better) and log rates of the points that no cheaper one matches, ascending."""
    if better not in ("higher", "lower"):
        raise ValueError(f"better is {better!r}; say 'higher' or 'lower'")
    kept: list[tuple[float, float]] = []
    for rate, score in sorted((rate, score if better == "higher" else -score) for rate, score in points):
        if not kept or score > kept[-1][0]:
            kept.append((score, math.log(rate)))
    scores, rates = zip(*kept, strict=True) if kept else ((), ())
    return np.array(scores), np.array(rates)
