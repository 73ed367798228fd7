"""What a compensation did: a table of readers, each with its errors on pictures that were held out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from math import isfinite
from typing import Any

from infoprune.compensation.judging import Solution
from infoprune.surgery.checked import integer, keys, mapping, name_of, number, sequence, truth, word


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
        """Plain values; outputs that can't be compared are left out."""
        outputs = {step: error for step, error in self.outputs.items() if isfinite(error)}
        return json.loads(json.dumps({**asdict(self), "outputs": outputs}))  # lists, as JSON has no tuples

    @classmethod
    def from_json(cls, data: Any) -> Compensation:
        """What `to_json` gave; BadArtifact says what is wrong with anything else."""
        entries = keys(data, "a compensation", {f.name for f in fields(cls)})
        rows = tuple(_row(row) for row in sequence(entries["rows"], "rows"))
        alone = {name_of(reader): str(why)[:200] for reader, why in mapping(entries["alone"], "alone").items()}
        outputs = {
            word(step): number(error, "an error") for step, error in mapping(entries["outputs"], "outputs").items()
        }
        counts = (integer(entries[n], n, 0, 1 << 40) for n in ("norms", "fitted_on", "held_out"))
        return cls(rows, alone, outputs, *counts)

    @property
    def short(self) -> list[str]:
        """The readers with at least as many inputs as there were samples to fit on."""
        return [row.reader for row in self.rows if row.kept >= self.fitted_on]

    def in_short(self) -> str:
        """One line of the table's end."""
        taken = sum(row.taken for row in self.rows)
        steps = list(self.outputs.values())
        ends = f", outputs {steps[0]:.3g} -> {min(steps):.3g}" if steps else ""
        return (
            f"{taken} of {len(self.rows)} readers refitted from {self.fitted_on} samples, {self.norms} norms moved"
            f"{ends} (squared error over variance, on {self.held_out} held-out samples)"
        )

    def __str__(self) -> str:
        lines = [("reader", "inputs", "plain", "refitted", "")]
        lines += [_line(row) for row in self.rows]
        widths = [max(len(line[i]) for line in lines) for i in range(5)]
        table = [_aligned(line, widths) for line in lines]
        table.insert(1, "-" * max(len(line) for line in table))
        if not self.rows:
            table.append("(no reader lost inputs)")
        table += [f"{name}: left alone, {why}" for name, why in self.alone.items()]
        table.append(
            f"outputs: {', '.join(f'{step} {error:.3g}' for step, error in self.outputs.items())}; "
            f"{self.norms} norms moved"
        )
        table.append(f"squared errors over variance, on {self.held_out} held-out samples; fitted on {self.fitted_on}")
        if self.short:
            some = f"{', '.join(self.short[:3])} ({len(self.short)} in all)"
            table.append(f"no more samples than inputs that stay at {some}: a strong ridge; more samples may help")
        return "\n".join(table)


def _row(data: Any) -> Row:
    entries = keys(data, "a row", {f.name for f in fields(Row)})
    return Row(
        name_of(entries["reader"]),
        integer(entries["kept"], "kept", 0, 1 << 40),
        integer(entries["columns"], "columns", 0, 1 << 40),
        number(entries["plain"], "plain"),
        number(entries["refitted"], "refitted"),
        number(entries["ridge"], "ridge"),
        truth(entries["taken"], "taken"),
    )


def _line(row: Row) -> tuple[str, ...]:
    kept = "" if row.taken else "keeps its plain slice"
    return row.reader, f"{row.kept} of {row.columns}", f"{row.plain:.4f}", f"{row.refitted:.4f}", kept


def _aligned(line: Sequence[str], widths: Sequence[int]) -> str:
    """The first word to the left, the others to the right."""
    others = [f"{word:>{width}}" for word, width in zip(line[1:], widths[1:], strict=True)]
    return "  ".join([line[0].ljust(widths[0]), *others]).rstrip()
