"""What is being done, on stderr: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from tqdm import tqdm


class Step(Protocol):
    def __call__(self, doing: str) -> None: ...


@contextmanager
def steps(count: int) -> Iterator[Step]:
    """A function to call as each of `count` steps begins."""
    if not sys.stderr.isatty():

        def say(doing: str) -> None:
            sys.stderr.write(f"{doing} ...\n")

        yield say
        return
    with tqdm(total=count, bar_format="{desc:<40} {bar:20} {n_fmt}/{total_fmt} {elapsed}", leave=False) as bar:

        def begin(doing: str) -> None:
            bar.update(int(bool(bar.desc)))
            bar.set_description_str(doing)

        yield begin
