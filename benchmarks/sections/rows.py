"""What all sections need: rows of a file by what they are about, and tables of Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from interleave import Ratio, ratio
from results_file import FOLDER, read

Row = dict[str, Any]


def rows(name: str, **about: Any) -> list[Row]:
    """Rows of results/NAME.jsonl that have these values, oldest first."""
    return [row for row in read(FOLDER / f"{name}.jsonl") if all(row.get(k) == v for k, v in about.items())]


def newest(name: str, key: Sequence[str], **about: Any) -> list[Row]:
    """The newest row of each key."""
    return list({tuple(str(row.get(k)) for k in key): row for row in rows(name, **about)}.values())


def row(name: str, **about: Any) -> Row:
    """The newest of these."""
    found = rows(name, **about)
    if not found:
        raise LookupError(f"results/{name}.jsonl has no row with {about}")
    return found[-1]


def times(row: Row, above: str, below: str) -> Ratio:
    """How many times as long the first takes as the second, from the rounds of a row."""
    return ratio(row["ms"][above], row["ms"][below])


def median(row: Row, name: str) -> float:
    return statistics.median(row["ms"][name])


def table(header: Sequence[str], lines: Iterable[Sequence[object]], align: str = "") -> str:
    """Markdown; `align` has one of "l", "r" for each column."""
    marks = ["--:" if mark == "r" else "---" for mark in align.ljust(len(header), "l")]
    made = [header, marks, *lines]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in made)
