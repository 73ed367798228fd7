"""What a verb hands back, and how rows are printed; loads nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from infoprune.errors import InfopruneError

NOT_COMPARED = 4  # exit code: all was done, and the pruned network could be compared with nothing


@dataclass(frozen=True)
class Result:
    """What goes to stdout, as text or as data, and the exit code."""

    text: str
    data: Any
    code: int = 0


class NotWritten(InfopruneError):
    """The last step failed; `result` is what there was to write."""

    def __init__(self, message: str, result: Result):
        super().__init__(message)
        self.result = result


@contextmanager
def kept_if_unwritten(result: Result) -> Iterator[None]:
    """Around the writing of a result: what was computed is printed all the same."""
    try:
        yield
    except (OSError, InfopruneError) as error:
        raise NotWritten(f"{error}; what was found is above, nothing was written", result) from error


WORDS = {  # of Python, and of the command
    "ignored_layers": "--ignore", "budgets=[...]": "--macs 0.5", "round_to": "--round-to",
    "pass load(directory, factory=...)": "add --model FILE.py:NAME", "with member=": "with --member",
    "leave int8 out": "leave --int8 out",
}  # fmt: skip


def in_words_of_the_command(message: str) -> str:
    """A message of the library, which speaks of arguments of functions, with the options that stand for them."""
    for python, option in WORDS.items():
        message = message.replace(python, option)
    return message


def threads(count: int | None) -> str:
    return f"{count} thread{'' if count == 1 else 's'}"


def as_table(rows: Sequence[Sequence[object]]) -> str:
    """Rows of cells in columns."""
    widths = [max(len(str(row[i])) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(str(cell).ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows
    )
