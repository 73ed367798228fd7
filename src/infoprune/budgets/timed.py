"""Run things in turn and time each, so that all of them see the same machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

LEAST_MS = 1.0  # a single reading lasts at least this long, so that the clock's own cost does not show


def interleaved_ms(
    runs: Sequence[Callable[[], object]],
    *,
    rounds: int,
    seconds: float,
    device: torch.device,
    seed: int = 0,
) -> np.ndarray:
    """Milliseconds a run, rounds x runs; each round takes the runs in a new random order.

    At least `rounds` rounds, and more of them until `seconds` have passed. All are warmed up before, and all
    readings are means of equally many runs: interruptions would otherwise weigh on one more than on another.
    """
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
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
