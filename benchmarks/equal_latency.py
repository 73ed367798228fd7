"""Networks timed in turn, and the share of the MACs at which one takes as long as another."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import torch
from interleave import Ratio, cpu_ms, interleaved, ratio
from torch import Tensor, nn

from infoprune.errors import Infeasible

LEAST_MS = 20.0  # of a reading of the first network
ROUNDS, HALVINGS = 15, 5
NEAR = 1.03  # times as long is as fast


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
    refused: Infeasible | None = None
    for _ in range(HALVINGS):
        share = (low + high) / 2
        try:
            network = at(share).eval()
        except Infeasible as error:
            low, refused = share, error
            continue
        ms = timed({"other": other, "own": network}, x)
        found.append(AsFast(share, network, ratio(ms["own"], ms["other"])))
        low, high = (share, high) if found[-1].times.value <= 1 else (low, share)
    if refused and not found:
        raise refused
    return min(found, key=lambda one: abs(math.log(one.times.value)))


def widest_as_fast(
    at: Callable[[float, int], nn.Module],
    other: nn.Module,
    x: Tensor,
    *,
    shares: tuple[float, float],
    multiples: Sequence[int] = (8, 4, 1),
) -> tuple[float, int]:
    """The largest share as fast as the other, and the multiple that its widths are of; the fastest if none is."""
    found: list[tuple[AsFast, int]] = []
    for multiple in multiples:
        with suppress(Infeasible):  # so few channels can't be had in such multiples
            found.append((as_fast(partial(_in, at, multiple), other, x, shares=shares), multiple))
    near = [(one.share, multiple) for one, multiple in found if one.times.value <= NEAR]
    return max(near) if near else min((one.times.value, one.share, multiple) for one, multiple in found)[1:]


def _in(at: Callable[[float, int], nn.Module], multiple: int, share: float) -> nn.Module:
    return at(share, multiple)


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
