"""What a run found, as plain data that survives JSON; the page and the comparison are drawn from it alone."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from infoprune.compensation import Compensation
from infoprune.errors import BadArtifact
from infoprune.timing import Verdict
from infoprune.typed import Read, Reader

SCHEMA = 1
FILE = "report.json"
LARGEST_FILE = 64 << 20
ADVICE = "; take the report.json of a finished run"


@dataclass(frozen=True)
class Interval:
    """A value with the ends of its 95 % interval."""

    value: float
    low: float
    high: float

    def ends(self, style: str = ".1%") -> str:
        """As text: "95.3% to 98.7%"."""
        return f"{self.low:{style}} to {self.high:{style}}"

    @classmethod
    def of_share(cls, hits: int, n: int) -> Interval:
        """Wilson's interval for a share of n independent trials, such as accuracy on n pictures."""
        z, p = 1.96, hits / n
        centre = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return cls(p, max(0.0, centre - half), min(1.0, centre + half))

    @classmethod
    def of_error(cls, value: float, error: float) -> Interval:
        """A value with its standard error, normal approximation; no width where the error is not known."""
        half = 1.96 * error if math.isfinite(error) else 0.0
        return cls(value, value - half, value + half)

    @classmethod
    def of_paired(cls, first: list[bool], second: list[bool]) -> Interval:
        """The difference of two shares of hits on the same n trials, normal approximation."""
        gaps = [float(a) - float(b) for a, b in zip(first, second, strict=True)]
        n = len(gaps)
        mean = sum(gaps) / n
        error = math.sqrt(sum((g - mean) ** 2 for g in gaps) / max(1, n - 1) / n)
        return cls(mean, mean - 1.96 * error, mean + 1.96 * error)


@dataclass(frozen=True)
class Score:
    """How well one task is done, in `unit`."""

    name: str
    unit: str
    better: Literal["higher", "lower"]
    value: Interval


@dataclass(frozen=True)
class State:
    """The model at one end of the run: `bytes` of its weights on disk, accuracy, or `scores` of other tasks."""

    params: int
    macs: int
    bytes: int
    latency_ms: Interval | None = None
    accuracy: Interval | None = None
    scores: tuple[Score, ...] = ()


@dataclass(frozen=True)
class SiteChange:
    """One site: units before and after, its share of the MACs, and what the plan weighed it by."""

    name: str
    kind: str
    size: int
    keeps: int
    macs_share_before: float | None = None
    macs_share_after: float | None = None
    weight: Interval | None = None


@dataclass(frozen=True)
class Step:
    """What was seen at one moment of training; `stage` counts prunings, `images` those seen since the run began."""

    stage: int
    images: int
    loss: float | None = None
    accuracy: float | None = None


@dataclass(frozen=True)
class Baseline:
    """Another importance at the same widths after the same tuning; `gain` is how much better ours is, paired.

    `accuracy` and `gain` are shares of the pictures, or the score of a `task` in `unit`.
    """

    name: str
    accuracy: Interval
    gain: Interval
    task: str = ""
    unit: str = ""

    @property
    def label(self) -> str:
        return f"{self.name} in {self.task}" if self.task else self.name


@dataclass(frozen=True)
class Allocation:
    """How close the widths are to the best possible, and how far they moved from those of uniform weights."""

    gap: float
    moved: float | None = None


@dataclass(frozen=True)
class Moment:
    """How well the network did "after surgery", "after compensation" or "after tuning"."""

    name: str
    accuracy: Interval | None = None
    scores: tuple[Score, ...] = ()


@dataclass(frozen=True)
class Recovery:
    """The way back from one cut, and what was refitted on it. `undone`: tuning made it worse, and was taken back."""

    cut: str
    moments: tuple[Moment, ...]
    compensation: Compensation
    undone: bool = False


@dataclass(frozen=True)
class Sent:
    """One way of sending: the best `share` by a `ranking` (about a `task`, where it is by information), and its scores.

    With `qp` the other features travel as well, through `encoder`. Bytes are those of a picture.
    """

    ranking: str
    task: str
    share: float
    bytes: float
    scores: Mapping[str, float]
    qp: int | None = None
    encoder: str | None = None


@dataclass(frozen=True)
class Sweep:
    """What travels at a split compared: each task's score, in `units`, for every ranking and way of sending."""

    sent: tuple[Sent, ...]
    units: Mapping[str, str]
    better: Mapping[str, Literal["higher", "lower"]]
    pictures: int


@dataclass(frozen=True)
class Report:
    """Everything that a run ends with."""

    name: str
    model: str
    data: str
    before: State
    after: State
    sites: tuple[SiteChange, ...] = ()
    blocks_removed: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
    recoveries: tuple[Recovery, ...] = ()
    norms: str = ""  # whether their statistics move, and why
    certificate: str = ""
    allocation: Allocation | None = None
    latency_ratio: Interval | None = None  # before / after, timed side by side
    budgets: Mapping[str, Verdict] = field(default_factory=dict)
    baselines: tuple[Baseline, ...] = ()
    ours: tuple[Score, ...] = ()  # beside the baselines, after the same tuning; accuracy has no unit
    sweep: Sweep | None = None
    tuning: str = ""  # what the baselines and the first comparison were tuned for, in words
    seconds: float = 0.0
    environment: Mapping[str, str] = field(default_factory=dict)
    recipe: str = ""
    load: str = ""  # the lines that load the result

    def to_json(self) -> str:
        return json.dumps({"schema": SCHEMA, **asdict(self)}, indent=1, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Report:
        """What `to_json` wrote; BadArtifact names the first field that is not as it should be."""
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise BadArtifact(f"the report is not JSON ({error}); take the report.json of a run") from error
        if not isinstance(data, dict) or data.pop("schema", None) != SCHEMA:
            raise BadArtifact(f"the report is not of schema {SCHEMA}; take the report.json that this release wrote")
        return _READER.read(data, cls, "report")

    @classmethod
    def of_run(cls, directory: str | Path) -> Report:
        """The report of the run in `directory`."""
        path = Path(directory) / FILE
        if not path.is_file():
            raise BadArtifact(f"{directory} holds no {FILE}; give the directory of a finished run")
        if path.stat().st_size > LARGEST_FILE:
            raise BadArtifact(f"{path} has {path.stat().st_size} bytes; at most {LARGEST_FILE} are read")
        return cls.from_json(path.read_text())


def _refuse(where: str, value: Any, need: str) -> Any:
    raise BadArtifact(f"{where} is {value!r:.80} and should be {need}{ADVICE}")


def _number(value: Any, where: str) -> float:
    fine = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if fine else _refuse(where, value, "a number")


def _plain(kind: type) -> Read:
    return lambda value, where: value if type(value) is kind else _refuse(where, value, kind.__name__)


_KINDS = {float: _number, **{kind: _plain(kind) for kind in (int, str, bool)}}
_READER = Reader(_KINDS, _refuse, BadArtifact, advice=ADVICE)
