"""Jobs timed in turn within one process, in CPU time: what else the machine does falls on all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from results_file import CONFIDENCE, DRAWS


def interleaved(jobs: Mapping[str, Callable[[], object]], rounds: int, *, warm: int = 1) -> dict[str, list[float]]:
    """CPU milliseconds of each job in each round, after `warm` rounds; every other round runs backwards."""
    found: dict[str, list[float]] = {name: [] for name in jobs}
    for number in range(-warm, rounds):
        for name in sorted(jobs, key=list(jobs).index, reverse=bool(number % 2)):
            spent = cpu_ms(jobs[name])
            if number >= 0:
                found[name].append(round(spent, 3))
    return found


def cpu_ms(job: Callable[[], object]) -> float:
    """Milliseconds of this process's CPU time."""
    begun = time.process_time()
    job()
    return 1e3 * (time.process_time() - begun)


@dataclass(frozen=True)
class Ratio:
    """A ratio of medians over rounds, and its interval."""

    value: float
    low: float
    high: float

    def __format__(self, spec: str) -> str:
        """`f"{r:.1f}"` is "6.5 (5.8 to 8.5)"; without an interval where it was run once."""
        told = f"{self.value:{spec}}"
        return told if self.low == self.high else f"{told} ({self.low:{spec}} to {self.high:{spec}})"


def ratio(above: Sequence[float], below: Sequence[float]) -> Ratio:
    """Median over median, with the 95 % bootstrap interval over rounds, which are kept together."""
    value = statistics.median(above) / statistics.median(below)
    if min(len(above), len(below)) < 2:
        return Ratio(value, value, value)
    over, under = np.array(above, float), np.array(below, float)
    if len(over) != len(under):
        raise ValueError(f"{len(over)} rounds against {len(under)}; time both in the same rounds")
    drawn = np.random.default_rng(0).integers(len(over), size=(DRAWS // 4, len(over)))
    ratios = np.median(over[drawn], 1) / np.median(under[drawn], 1)
    low, high = np.quantile(ratios, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Ratio(float(value), float(low), float(high))


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """b of the cost a n^b: the slope of least squares through log cost against log n."""
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])
