"""Is the pruned model faster? Both are timed in turn, and the answer comes with its interval."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from infoprune.graph.arguments import Arguments
from infoprune.graph.evaluating import evaluating
from infoprune.graph.slicing import device_of
from infoprune.require import require_model, require_number, require_values

Verdict = Literal["met", "not met", "cannot tell"]
Difference = Literal["faster", "slower", "no difference"]
Interval = tuple[float, float]

LEAST_MS = 1.0  # a single reading lasts at least this long, so that the clock's own cost does not show
DRAWS = 4000
CONFIDENCE = 0.995


@dataclass(frozen=True)
class LatencyComparison:
    """Medians in milliseconds and the median over rounds of pruned / dense, with bootstrap intervals (99.5 %).

    `keep` or `at_most_ms` is what was promised; without either, being faster is.
    """

    dense_ms: float
    pruned_ms: float
    pruned_interval_ms: Interval
    ratio: float
    ratio_interval: Interval
    rounds: int
    threads: int
    device: str
    keep: float | None = None
    at_most_ms: float | None = None

    @property
    def dense_beside_ms(self) -> float:
        """The dense network's time where the pruned one takes `pruned_ms`: by their ratio, which is known best."""
        return self.pruned_ms / self.ratio

    @property
    def difference(self) -> Difference:
        """What the interval of the ratio allows to say."""
        low, high = self.ratio_interval
        return "faster" if high < 1 else "slower" if low > 1 else "no difference"

    @property
    def verdict(self) -> Verdict:
        """Whether the whole interval is within the promise, beyond it, or on both sides."""
        (low, high), limit = self._promised
        return "met" if high <= limit else "not met" if low > limit else "cannot tell"

    @property
    def excess(self) -> float:
        """The upper end of the interval over what was promised."""
        (_, high), limit = self._promised
        return high / limit

    @property
    def _promised(self) -> tuple[Interval, float]:
        """What was measured of what was promised, and the promise."""
        if self.at_most_ms is not None:
            return self.pruned_interval_ms, self.at_most_ms
        return self.ratio_interval, 1.0 if self.keep is None else self.keep

    def __str__(self) -> str:
        low, high = self.ratio_interval
        promise = "" if self.keep is None else f", keep {self.keep:g}: {self.verdict}"
        if self.at_most_ms is not None:
            promise = f", at most {self.at_most_ms:g} ms: {self.verdict}"
        return (
            f"{self.pruned_ms:.3g} ms against {self.dense_beside_ms:.3g} ms, "
            f"ratio {self.ratio:.3f} ({low:.3f} to {high:.3f}): {self.difference}{promise} "
            f"({self.rounds} rounds, {self.threads} threads, {self.device})"
        )


def compare_latency(
    dense: nn.Module,
    pruned: nn.Module,
    example_inputs: Any,
    *,
    keep: float | None = None,
    at_most: float | str | None = None,
    rounds: int = 31,
    seconds: float = 3.0,
    seed: int = 0,
) -> LatencyComparison:
    """Time both models on the same inputs, in turn and in random order, after warm-up and without gradients.

    Drifts of the machine reach both models of a round alike, so the ratio is known better than either time.

    Args:
        dense: One model.
        pruned: The other.
        example_inputs: What both take.
        keep: A promise to judge: the share of the dense model's time that may be left.
        at_most: Another promise, in its place: a time such as "8ms"; a bare number means milliseconds.
        rounds: The fewest rounds; in each of them both models run once.
        seconds: Rounds go on until this time has passed as well.
        seed: Of the order within rounds and of the intervals.
    """
    require_model(dense, "dense")
    require_model(pruned, "pruned")
    require_values(dense, "to be timed with", "dense")
    require_values(pruned, "to be timed with", "pruned")
    require_number(seconds, "seconds")
    if keep is not None and at_most is not None:
        raise ValueError("give keep= or at_most=, not both; call it twice to check both")
    inputs = Arguments.of(example_inputs)
    device = device_of(dense)
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode())
        stack.enter_context(evaluating(dense))
        stack.enter_context(evaluating(pruned))
        runs = [lambda: inputs.run(dense), lambda: inputs.run(pruned)]
        times = interleaved_ms(runs, rounds=rounds, seconds=seconds, device=device, seed=seed)
    limit = None if at_most is None else milliseconds(at_most)
    return compare_times(times, keep=keep, at_most_ms=limit, device=str(device), seed=seed)


def compare_times(
    times_ms: np.ndarray,
    *,
    keep: float | None = None,
    at_most_ms: float | None = None,
    device: str = "cpu",
    seed: int = 0,
) -> LatencyComparison:
    """The comparison from readings, rounds x (dense, pruned)."""
    ratios = times_ms[:, 1] / times_ms[:, 0]
    return LatencyComparison(
        dense_ms=float(np.median(times_ms[:, 0])),
        pruned_ms=float(np.median(times_ms[:, 1])),
        pruned_interval_ms=median_interval(times_ms[:, 1], seed=seed),
        ratio=float(np.median(ratios)),
        ratio_interval=median_interval(ratios, seed=seed),
        rounds=len(times_ms),
        threads=torch.get_num_threads(),
        device=device,
        keep=keep,
        at_most_ms=at_most_ms,
    )


def median_interval(values: np.ndarray, *, seed: int = 0) -> Interval:
    """The central 99.5 % of the medians of 4,000 resamples."""
    generator = np.random.default_rng(seed)
    drawn = values[generator.integers(len(values), size=(DRAWS, len(values)))]
    low, high = np.quantile(np.median(drawn, axis=1), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


# ------------------------------------------------------------------------------------------------------ readings


def milliseconds(amount: float | str) -> float:
    """A duration such as "8ms", "1.5s" or "800us"; bare numbers are milliseconds."""
    if isinstance(amount, float | int):
        return float(amount)
    match = isinstance(amount, str) and re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(s|ms|us|µs)\s*", amount)
    if not match:
        raise ValueError(f"{amount!r:.60} is not a duration; write it like '8ms', '1.5s' or '800us'")
    return float(match[1]) * {"s": 1e3, "ms": 1.0, "us": 1e-3, "µs": 1e-3}[match[2]]


def interleaved_ms(
    runs: Sequence[Callable[[], object]], *, rounds: int, seconds: float, device: torch.device, seed: int = 0
) -> np.ndarray:
    """Milliseconds a run, rounds x runs; each round takes the runs in a new random order.

    At least `rounds` rounds, and more of them until `seconds` have passed. All are warmed up before, and all
    readings are means of equally many runs: interruptions would otherwise weigh on one more than on another.
    """
    wait = torch.get_device_module(device).synchronize
    repeats = max(_repeats(run, wait) for run in runs)
    order = np.random.default_rng(seed)
    times: list[list[float]] = []
    started = time.perf_counter()
    while len(times) < rounds or time.perf_counter() - started < seconds:
        readings = [0.0] * len(runs)
        for i in order.permutation(len(runs)):
            readings[i] = _reading(runs[i], repeats, wait)
        times.append(readings)
    return np.array(times)


def _repeats(run: Callable[[], object], wait: Callable[[], None]) -> int:
    """How often to run for one reading, after runs for warm-up."""
    _reading(run, 1, wait)
    once = min(_reading(run, 1, wait) for _ in range(3))
    return max(1, int(np.ceil(LEAST_MS / max(once, 1e-6))))


def _reading(run: Callable[[], object], repeats: int, wait: Callable[[], None]) -> float:
    wait()
    before = time.perf_counter()
    for _ in range(repeats):
        run()
    wait()
    return 1e3 * (time.perf_counter() - before) / repeats
