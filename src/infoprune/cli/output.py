"""What a verb hands back, and how rows are printed; loads nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

NOT_COMPARED = 4  # exit code: all was done, and the pruned network could be compared with nothing


@dataclass(frozen=True)
class Result:
    """What goes to stdout, as text or as data, and the exit code."""

    text: str
    data: Any
    code: int = 0


def as_table(rows: Sequence[Sequence[object]]) -> str:
    """Rows of cells in columns."""
    widths = [max(len(str(row[i])) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(str(cell).ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows
    )
