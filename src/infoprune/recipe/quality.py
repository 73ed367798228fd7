"""How well a network does on held-out pictures: which it names rightly, or scores that know their spread."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

from infoprune.report.model import Baseline, Interval, Score


class Quality(ABC):
    """What was found on held-out pictures. It is kept as `file`, as plain values."""

    file: ClassVar[str]

    @abstractmethod
    def kept(self) -> list[Any]:
        """Plain values for the file."""

    @classmethod
    @abstractmethod
    def of(cls, kept: list[Any]) -> Quality:
        """What `kept` gave."""

    @property
    @abstractmethod
    def words(self) -> str:
        """In short, for people."""

    @property
    @abstractmethod
    def numbers(self) -> Mapping[str, Any]:
        """What goes into metrics.jsonl."""

    @property
    @abstractmethod
    def intervals(self) -> Mapping[str, Any]:
        """The same with intervals, as plain values."""

    @property
    @abstractmethod
    def accuracy(self) -> Interval | None:
        """The share that is named rightly, where pictures are named."""

    @property
    @abstractmethod
    def scores(self) -> tuple[Score, ...]:
        """One a task, where pictures are not named."""

    @abstractmethod
    def against(self, name: str, theirs: Any) -> list[Baseline]:
        """How much better this is than the baseline `name`, on the same pictures."""

    def worse_than(self, other: Quality) -> bool:
        """Whether something is worse beyond doubt, on the same pictures, and nothing better beyond doubt."""
        gains = [beside.gain for beside in self.against("", other)]
        return any(gain.high < 0 for gain in gains) and not any(gain.low > 0 for gain in gains)


@dataclass(frozen=True)
class Hits(Quality):
    """Which pictures are named rightly."""

    file: ClassVar[str] = "hits.json"

    right: tuple[bool, ...]

    def kept(self) -> list[Any]:
        return list(self.right)

    @classmethod
    def of(cls, kept: list[Any]) -> Hits:
        return cls(tuple(kept))

    @property
    def accuracy(self) -> Interval:
        return Interval.of_share(sum(self.right), len(self.right))

    @property
    def scores(self) -> tuple[Score, ...]:
        return ()

    @property
    def words(self) -> str:
        return f"{self.accuracy.value:.2%} of {len(self.right)} held-out pictures"

    @property
    def numbers(self) -> Mapping[str, Any]:
        return {"accuracy": self.accuracy.value}

    @property
    def intervals(self) -> Mapping[str, Any]:
        return {"accuracy": asdict(self.accuracy)}

    def against(self, name: str, theirs: Hits) -> list[Baseline]:
        return [Baseline(name, theirs.accuracy, Interval.of_paired(list(self.right), list(theirs.right)))]


@dataclass(frozen=True)
class Judged:
    """One score on held-out pictures, and what it is without each of some groups of them."""

    name: str
    unit: str
    better: Literal["higher", "lower"]
    value: float
    without: tuple[float, ...]

    @property
    def interval(self) -> Interval:
        return _jackknife(self.value, self.without)

    def gain_over(self, other: Judged) -> Interval:
        """How much better than `other` on the same pictures; positive is better, whatever the score."""
        sign = 1.0 if self.better == "higher" else -1.0
        without = tuple(sign * (a - b) for a, b in zip(self.without, other.without, strict=True))
        return _jackknife(sign * (self.value - other.value), without)


def _jackknife(value: float, without: Sequence[float]) -> Interval:
    """value +- t s, s^2 = (g - 1) / g sum of squared deviations of g values, each without one group (Quenouille)."""
    from scipy.special import stdtrit

    g = len(without)
    mean = sum(without) / g
    error = math.sqrt((g - 1) / g * sum((w - mean) ** 2 for w in without))
    half = float(stdtrit(g - 1, 0.975)) * error
    return Interval(value, value - half, value + half)


@dataclass(frozen=True)
class Scores(Quality):
    """One score a task."""

    file: ClassVar[str] = "scores.json"

    judged: tuple[Judged, ...]

    def kept(self) -> list[Any]:
        return [asdict(one) for one in self.judged]

    @classmethod
    def of(cls, kept: list[Any]) -> Scores:
        return cls(tuple(Judged(**{**row, "without": tuple(row["without"])}) for row in kept))

    @property
    def accuracy(self) -> Interval | None:
        return None

    @property
    def scores(self) -> tuple[Score, ...]:
        return tuple(Score(one.name, one.unit, one.better, one.interval) for one in self.judged)

    @property
    def words(self) -> str:
        return ", ".join(f"{one.name} {one.value:.4g} {one.unit}" for one in self.judged)

    @property
    def numbers(self) -> Mapping[str, Any]:
        return {"scores": {one.name: one.value for one in self.judged}}

    @property
    def intervals(self) -> Mapping[str, Any]:
        return {"scores": {one.name: asdict(one.interval) for one in self.judged}}

    def against(self, name: str, theirs: Scores) -> list[Baseline]:
        pairs = zip(self.judged, theirs.judged, strict=True)
        return [Baseline(name, b.interval, a.gain_over(b), a.name, a.unit) for a, b in pairs]
