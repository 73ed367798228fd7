"""What a model costs, as counted and as timed."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from infoprune.graph.arguments import Arguments
from infoprune.graph.counting import COUNTER, count_macs
from infoprune.graph.evaluating import evaluating
from infoprune.graph.slicing import device_of
from infoprune.graph.wrappers import bare
from infoprune.require import require_model, require_seen, require_values


@dataclass(frozen=True)
class Measurement:
    """Parameters, MACs for the example inputs, and, if asked for, the median latency with its quartiles."""

    params: int
    macs: int
    counter: str = COUNTER
    latency_ms: float | None = None
    latency_quartiles_ms: tuple[float, float] | None = None
    threads: int | None = None

    def __str__(self) -> str:
        text = f"{self.params:,} parameters, {self.macs:,} MACs"
        if self.latency_ms is None or self.latency_quartiles_ms is None:
            return text
        low, high = self.latency_quartiles_ms
        return f"{text}, {self.latency_ms:.2f} ms ({low:.2f} to {high:.2f} ms, {self.threads} threads)"


def measure(model: nn.Module, example_inputs: Any, *, latency: bool = False) -> Measurement:
    """Count `model` on `example_inputs`; with `latency` also time it (median of at least 9 runs and 0.5 s)."""
    require_model(model)
    require_seen()
    inputs = Arguments.of(example_inputs)
    params = sum(p.numel() for p in model.parameters())
    with inputs.blamed():
        macs = count_macs(bare(model), inputs)
    if not latency:
        return Measurement(params, macs)
    require_values(model, "to be timed with")
    times = _timed(model, inputs)
    low, middle, high = statistics.quantiles(times, n=4)
    return Measurement(params, macs, COUNTER, middle, (low, high), torch.get_num_threads())


def _timed(model: nn.Module, inputs: Arguments, *, runs: int = 9, seconds: float = 0.5) -> list[float]:
    """Milliseconds of single runs after two for warm-up."""
    wait = torch.get_device_module(device_of(model)).synchronize
    times: list[float] = []
    with torch.inference_mode(), evaluating(model):
        for _ in range(2):
            inputs.run(model)
        started = time.perf_counter()
        while len(times) < runs or time.perf_counter() - started < seconds:
            wait()
            before = time.perf_counter()
            inputs.run(model)
            wait()
            times.append(1e3 * (time.perf_counter() - before))
    return times
