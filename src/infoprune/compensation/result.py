"""What a compensation did: a table of readers, each with its errors on pictures that were held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from infoprune.compensation.judging import Solution


@dataclass(frozen=True)
class Row:
    """One reader: how many of its input columns stayed, and its answers' squared error over their variance.

    All errors are on held-out samples. `plain` is that of the slice that surgery left and `refitted` that of the refit,
    given what the layers before it, refitted already, feed it; `taken` says whether the refit stands.
    """

    reader: str
    kept: int
    columns: int
    plain: float
    refitted: float
    ridge: float
    taken: bool

    @classmethod
    def of(cls, way: Solution, plain: float, refitted: float) -> Row:
        """What held-out samples say of the best refit beside the plain slice."""
        reader = way.reader
        columns = reader.target.shape[-1]
        return cls(reader.name, reader.kept.shape[1], columns, plain, refitted, way.ridge, refitted < plain)


@dataclass(frozen=True)
class Compensation:
    """What was refitted, from how many samples, and how far from the dense network what is left of it now answers.

    `alone` says why other readers were left as surgery left them. `outputs` holds the squared error of the network's
    outputs over their variance, on held-out samples: "plain" as it came, then with "readers" refitted and with "norms"
    moved; both stand where they lowered it. `norms` counts those that moved.
    """

    rows: tuple[Row, ...]
    alone: Mapping[str, str]
    outputs: Mapping[str, float]
    norms: int
    fitted_on: int
    held_out: int

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [("reader", "inputs", "plain", "refitted", "")]
        lines += [_line(row) for row in self.rows]
        widths = [max(len(line[i]) for line in lines) for i in range(5)]
        told = [_aligned(line, widths) for line in lines]
        told.insert(1, "-" * max(len(line) for line in told))
        if not self.rows:
            told.append("(no reader lost inputs)")
        told += [f"{name}: left alone, {why}" for name, why in self.alone.items()]
        told.append(
            f"outputs: {', '.join(f'{step} {error:.3g}' for step, error in self.outputs.items())}; "
            f"{self.norms} norms moved"
        )
        told.append(f"squared errors over variance, on {self.held_out} held-out samples; fitted on {self.fitted_on}")
        return "\n".join(told)


def _line(row: Row) -> tuple[str, ...]:
    kept = "" if row.taken else "keeps its plain slice"
    return row.reader, f"{row.kept} of {row.columns}", f"{row.plain:.4f}", f"{row.refitted:.4f}", kept


def _aligned(line: Sequence[str], widths: Sequence[int]) -> str:
    """The first word to the left, the others to the right."""
    others = [f"{word:>{width}}" for word, width in zip(line[1:], widths[1:], strict=True)]
    return "  ".join([line[0].ljust(widths[0]), *others]).rstrip()
