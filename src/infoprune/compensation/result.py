"""What a compensation did: a table of readers, each with its errors on pictures that were held out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """One reader: how many of its input columns stayed, and its answers' squared error over their variance.

    `plain` is the error of the slice that surgery left, `refitted` that of the refit, both on held-out samples given
    what the dense network feeds it; `taken` says which of the two it has now. `way` 0 is the refit about the means, 1
    the one through the origin, where both were tried.
    """

    reader: str
    kept: int
    columns: int
    plain: float
    refitted: float
    ridge: float
    taken: bool
    way: int = 0


@dataclass(frozen=True)
class Compensation:
    """What was refitted, from how many samples, and how far from the dense network what is left of it now answers.

    `alone` says why other readers were left as surgery left them. `outputs` holds the squared error of the network's
    outputs over their variance, on held-out samples: "plain" as it came, "readers" after the refit and "norms" after
    norms moved too, which is kept where it is the smaller one; `norms` counts those that moved.
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
        told = [
            f"{a:<{widths[0]}}  {b:>{widths[1]}}  {c:>{widths[2]}}  {d:>{widths[3]}}  {e}".rstrip()
            for a, b, c, d, e in lines
        ]
        told.insert(1, "-" * max(len(line) for line in told))
        if not self.rows:
            told.append("(no reader lost inputs)")
        told += [f"{name}: left alone, {why}" for name, why in self.alone.items()]
        steps = " -> ".join(f"{error:.3g} ({step})" for step, error in self.outputs.items())
        told.append(f"outputs: {steps}; {self.norms} norms moved")
        told.append(f"errors over variance, on {self.held_out} held-out samples; fitted on {self.fitted_on}")
        return "\n".join(told)


def _line(row: Row) -> tuple[str, ...]:
    few = "" if row.taken else "keeps its plain slice"
    return row.reader, f"{row.kept} of {row.columns}", f"{row.plain:.4f}", f"{row.refitted:.4f}", few
