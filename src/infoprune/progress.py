"""How far a long step is and how long it will still take, on stderr: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tqdm import tqdm

QUIET_SECONDS = 10.0  # between two lines
QUICK_SECONDS = 1.0  # what is done sooner gets no bar


@contextmanager
def counting(total: int | None, doing: str, unit: str, *, shown: bool = True) -> Iterator[Callable[[int], object]]:
    """A function to call with how many more `unit`s are done, of `total` if that is known."""
    if not shown:
        yield lambda _: None
    elif sys.stderr.isatty():
        with tqdm(total=total, desc=doing, unit=unit, delay=QUICK_SECONDS) as bar:
            yield bar.update
    else:
        yield Lines(total, doing, unit).add


@dataclass
class Lines:
    """A line each ten seconds; none for what is done sooner."""

    total: int | None
    doing: str
    unit: str
    began: float = field(default_factory=lambda: time.monotonic())
    done: int = 0
    shown_at: float | None = None  # the last time

    def add(self, more: int) -> None:
        self.done, now = self.done + more, time.monotonic()
        if now - (self.began if self.shown_at is None else self.shown_at) >= QUIET_SECONDS:
            self.shown_at = now
            sys.stderr.write(self.at(now - self.began) + "\n")
            sys.stderr.flush()

    def at(self, seconds: float) -> str:
        """What is to be said after so many seconds."""
        rate = self.done / max(seconds, 1e-9)
        speed = f"{rate:,.0f} {self.unit}s/s" if rate >= 10 else f"{rate:.2g} {self.unit}s/s"
        if self.total is None:
            return f"{self.doing}: {self.done:,} {self.unit}s, {speed}"
        return f"{self.doing}: {self.done:,} of {self.total:,} {self.unit}s, {speed}, {self._left(seconds):.0f} s left"

    def _left(self, seconds: float) -> float:
        return seconds / self.done * max(0, (self.total or 0) - self.done)
