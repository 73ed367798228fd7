"""The metrics of a run for TensorBoard, drawn anew from metrics.jsonl whenever the run goes on."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from infoprune.errors import MissingExtra

SHOWN = ("loss", "lr", "accuracy")


class Board:
    """Event files in `path`; nothing of what was there stays."""

    def __init__(self, path: Path, rows: Sequence[Mapping[str, Any]]):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingExtra("report.tensorboard needs tensorboard; install infoprune[tensorboard]") from error
        shutil.rmtree(path, ignore_errors=True)
        self.writer = SummaryWriter(str(path))
        for row in rows:
            self.add(row)

    def add(self, row: Mapping[str, Any]) -> None:
        """Each number of a row of metrics.jsonl, by phase and step."""
        numbers = {name: row[name] for name in SHOWN if name in row} | dict(row.get("scores", {}))
        for name, value in numbers.items():
            self.writer.add_scalar(f"{row['phase']}/{name}", value, row.get("step", 0))
        self.writer.flush()
