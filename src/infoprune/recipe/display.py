"""What is seen while a run works: a bar with throughput and ETA on a terminal, plain lines elsewhere."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from tqdm import tqdm

from infoprune.finetune import Progress
from infoprune.progress import QUIET_SECONDS


class Display(Protocol):
    """Told what is being done; `counts`: whether long steps may count on stderr what they have done."""

    counts: bool

    def say(self, message: str) -> None: ...

    def progress(self, phase: str, progress: Progress) -> None: ...


class Silent:
    """For callers that look at the files instead."""

    counts = False

    def say(self, message: str) -> None:
        """Nothing."""

    def progress(self, phase: str, progress: Progress) -> None:
        """Nothing."""


class OnStderr:
    """A bar a phase on a terminal; elsewhere a line when ten seconds have passed, or the phase ends."""

    counts = True

    def __init__(self) -> None:
        self.terminal = sys.stderr.isatty()
        self.bar: tqdm | None = None
        self.phase, self.shown_at = "", 0.0

    def say(self, message: str) -> None:
        self._close()
        sys.stderr.write(message + "\n")
        sys.stderr.flush()

    def progress(self, phase: str, progress: Progress) -> None:
        if self.terminal:
            return self._on_bar(phase, progress)
        now = time.monotonic()
        if phase != self.phase:
            self.phase, self.shown_at = phase, now
        if now - self.shown_at < QUIET_SECONDS and progress.step < progress.steps:
            return None
        self.shown_at = now
        left = progress.seconds / progress.step * (progress.steps - progress.step)
        speed = progress.images / max(progress.seconds, 1e-9)
        sys.stderr.write(
            f"{phase}: step {progress.step} of {progress.steps}, loss {progress.loss:.4f}, {speed:,.0f} pictures/s, "
            f"{left:.0f} s left\n"
        )
        return None

    def _on_bar(self, phase: str, progress: Progress) -> None:
        if self.bar is None or phase != self.phase:
            self._close()
            total, self.phase = round(progress.images / progress.step * progress.steps), phase
            self.bar = tqdm(total=total, desc=phase, unit="picture", unit_scale=True, initial=progress.images)
        self.bar.set_postfix(loss=f"{progress.loss:.3f}", refresh=False)
        self.bar.update(progress.images - self.bar.n)

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None


@dataclass
class Wish:
    """Whether somebody asked to stop."""

    stop: bool = False


@contextmanager
def stopping(say: Callable[[str], None]) -> Iterator[Wish]:
    """The first Ctrl-C, or SIGTERM as machines that are taken away send it, asks to stop after the step.

    The second stops at once.
    """
    wish = Wish()

    def asked(*_: object) -> None:
        if wish.stop:
            raise KeyboardInterrupt
        wish.stop = True
        say("stopping after this step (Ctrl-C again to stop at once) ...")

    try:
        before = {sign: signal.signal(sign, asked) for sign in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # signals belong to the main thread
        yield wish
        return
    try:
        yield wish
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)
