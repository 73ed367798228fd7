"""So many bits per image: how many features that buys, and how coarsely, measured on real streams."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from tqdm import tqdm

from infoprune.budgets import Budget
from infoprune.budgets.bits import BITS_A_VALUE, Bits
from infoprune.errors import Infeasible
from infoprune.wire import HEVC, Codec, Selection, decode, encode
from infoprune.wire.codec import codec_at

SHARES = (1.0, 0.9375, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125, 0.0625, 0.0)
COARSEST = 51
Way = Callable[[int, Sequence[int], Codec], Selection]
Distortion = Callable[[Tensor, Tensor], float]


@dataclass(frozen=True)
class Tried:
    """The first `count` features of a ranking, with the finest QP at which they meet the target."""

    count: int
    qp: int
    bits_per_image: float
    distortion: float


@dataclass(frozen=True)
class RateChoice:
    """The selection with the least distortion among those tried that send at most `target` bits per image.

    `bits_per_image` is measured: the mean length of the calibration images' streams, headers and all.
    """

    selection: Selection
    bits_per_image: float
    target: float
    distortion: float
    tried: tuple[Tried, ...]

    def __str__(self) -> str:
        rows = [f"{t.count:>8} {t.qp:>4} {t.bits_per_image:>12,.0f} {t.distortion:>12.5f}" for t in self.tried]
        head = f"{'features':>8} {'QP':>4} {'bits/image':>12} {'distortion':>12}"
        tail = (
            f"{len(self.selection.kept)} of {self.selection.size} features are sent: {self.bits_per_image:,.0f} bits "
        )
        return "\n".join([head, *rows, f"{tail}per image of {self.target:,.0f}, distortion {self.distortion:.5f}"])


def relative_squared_error(features: Tensor, arrived: Tensor) -> float:
    """|features - arrived|^2 / |features|^2 over everything; features that were left behind count whole."""
    energy = features.double().square().sum()
    return float((features.double() - arrived.double()).square().sum() / energy) if energy > 0 else 0.0


def select_for_rate(
    features: Tensor,
    ranking: Sequence[int],
    *,
    bits_per_image: float | Budget,
    codec: type[Codec] = HEVC,
    way: Way = Selection.hard,
    distortion: Distortion = relative_squared_error,
) -> RateChoice:
    """How many features to send, and at which QP, for at most so many bits.

    For each of the counts in `SHARES` the finest QP that meets the target is found by bisection on real bytes; of these
    the one with the least distortion is chosen. Raises Infeasible where even the cheapest does not fit.

    Args:
        features: Of calibration images, [B, C, H, W].
        ranking: Features, best first.
        bits_per_image: A number, or `ip.budgets.bits(...)`, whose `keep` is the share of what all features take as
            plain 8-bit levels.
        codec: Made with a QP; writes the features.
        way: Makes a selection of the first features: `Selection.hard` leaves the others behind, `Selection.soft` sends
            the first as levels and the others by `codec`.
        distortion: What is lost; pass the loss of the task at hand to have it decide.
    """
    _check(features, ranking)
    target = _target(features, bits_per_image)
    counts = sorted({round(share * len(ranking)) or (way != Selection.soft) for share in SHARES}, reverse=True)
    sending = _Sending(features, tuple(int(i) for i in ranking), codec, way)
    tried = _try_all(sending, counts, target, distortion)
    if not tried:
        cheapest = sending.bits(counts[-1], sending.coarsest)
        raise Infeasible(f"{target:,.0f} bits per image are too few: the cheapest selection takes {cheapest:,.0f}")
    best = min(tried, key=lambda t: (t.distortion, t.bits_per_image))
    selection = sending.selection(best.count, best.qp)
    return RateChoice(selection, best.bits_per_image, target, best.distortion, tuple(tried))


def _try_all(sending: _Sending, counts: Sequence[int], target: float, distortion: Distortion) -> list[Tried]:
    """Each count, from the largest, with the finest QP that meets the target; fewer features need no coarser one."""
    tried, coarsest = [], sending.coarsest
    for count in tqdm(counts, desc="counts of features", disable=None):
        qp = _finest(lambda qp, count=count: sending.bits(count, qp) <= target, coarsest)
        if qp is not None:
            error = distortion(sending.features, sending.arrived(count, qp))
            tried.append(Tried(count, qp, sending.bits(count, qp), error))
            coarsest = qp
    return tried


class _Sending:
    """The calibration features on their way, once for each count and QP."""

    def __init__(self, features: Tensor, ranking: tuple[int, ...], codec: type[Codec], way: Way):
        self.features, self.ranking, self.codec, self.way = features, ranking, codec, way
        self.coarsest = COARSEST if codec.has_qp else 0
        self.streams = cache(self._streams)

    def selection(self, count: int, qp: int) -> Selection:
        return self.way(self.features.shape[1], self.ranking[:count], codec_at(self.codec, qp))

    def _streams(self, count: int, qp: int) -> tuple[bytes, ...]:
        selection = self.selection(count, qp)
        return tuple(encode(image, selection) for image in self.features)

    def bits(self, count: int, qp: int) -> float:
        return 8 * sum(map(len, self.streams(count, qp))) / len(self.features)

    def arrived(self, count: int, qp: int) -> Tensor:
        return torch.stack([decode(stream) for stream in self.streams(count, qp)])


def _finest(fits: Callable[[int], bool], coarsest: int) -> int | None:
    """The smallest QP up to `coarsest` that fits, if more is never more bits; whatever is returned was seen to fit."""
    if not fits(coarsest):
        return None
    low, high = 0, coarsest
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle + 1, high)
    return high


def _target(features: Tensor, asked: float | Budget) -> float:
    if isinstance(asked, Budget):
        if not isinstance(asked, Bits):
            raise ValueError(f"the budget is of {asked.resource}; give ip.budgets.bits(...)")
        return asked.limit(BITS_A_VALUE * features[0].numel())
    if not 0 < asked < float("inf"):
        raise ValueError(f"bits_per_image is {asked}; give a positive finite number")
    return float(asked)


def _check(features: Tensor, ranking: Sequence[int]) -> None:
    if features.dim() != 4 or not features.numel():
        raise ValueError(f"features are {tuple(features.shape)}; give those of calibration images, [B, C, H, W]")
    if not len(ranking) or len(set(map(int, ranking))) < len(ranking):
        raise ValueError("the ranking is empty or names a feature twice; list features once, best first")
