"""Networks timed in turn, and the share of the MACs at which one takes as long as another."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from interleave import Ratio, cpu_ms, interleaved, ratio
from torch import Tensor, nn

from infoprune.errors import Infeasible

LEAST_MS = 20.0  # of a reading of the first network
ROUNDS, HALVINGS = 15, 5


@dataclass(frozen=True)
class AsFast:
    """A network at its share of the MACs, and its time over that of the other."""

    share: float
    network: nn.Module
    times: Ratio


def as_fast(
    at: Callable[[float], nn.Module], other: nn.Module, x: Tensor, *, shares: tuple[float, float] = (0.1, 1.0)
) -> AsFast:
    """The network `at` a share within these whose time comes nearest to that of the other, found by halves."""
    low, high = shares
    found: list[AsFast] = []
    for _ in range(HALVINGS):
        share = (low + high) / 2
        try:
            network = at(share).eval()
        except Infeasible:
            low = share
            continue
        ms = timed({"other": other, "own": network}, x)
        found.append(AsFast(share, network, ratio(ms["own"], ms["other"])))
        low, high = (share, high) if found[-1].times.value <= 1 else (low, share)
    if not found:
        raise RuntimeError(f"no share of the MACs between {shares[0]:.0%} and {shares[1]:.0%} can be reached")
    return min(found, key=lambda one: abs(math.log(one.times.value)))


@torch.inference_mode()
def timed(networks: Mapping[str, nn.Module], x: Tensor, rounds: int = ROUNDS) -> dict[str, list[float]]:
    """CPU milliseconds of each in each round; a reading is of as many passes as the first needs to last long enough."""
    first = next(iter(networks.values()))
    first(x)
    passes = math.ceil(LEAST_MS / max(cpu_ms(lambda: first(x)), 0.1))

    def run(network: nn.Module) -> None:
        for _ in range(passes):
            network(x)

    return interleaved({name: partial(run, network) for name, network in networks.items()}, rounds, warm=3)
