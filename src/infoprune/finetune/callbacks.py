"""What a training has around it, what it tells on its way, and how it ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Ended = Literal["finished", "out of time", "stopped"]


@dataclass(frozen=True)
class Progress:
    """Where training stands; `loss` is the mean since the last time."""

    step: int
    steps: int
    images: int
    loss: float
    lr: float
    seconds: float


@dataclass(frozen=True)
class Trained:
    """How training ended."""

    steps: int
    images: int
    seconds: float
    ended: Ended


@dataclass(frozen=True)
class Surroundings:
    """What a training needs beside model and data, none of which changes its result."""

    checkpoints: Path | None = None
    workers: int = 0
    note: Callable[[Progress], None] = lambda progress: None
    say: Callable[[str], None] = lambda message: None
    stop: Callable[[], bool] = lambda: False
