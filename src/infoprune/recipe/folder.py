"""A run's directory: what is there is whole, and what is there is done."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from infoprune.errors import InfopruneError
from infoprune.files import write_atomically
from infoprune.finetune import Processes, Progress
from infoprune.finetune.checkpoints import save_tensors
from infoprune.recipe.reading import changed, kept_recipe, to_yaml
from infoprune.recipe.sections import Recipe
from infoprune.recipe.tensorboard import Board
from infoprune.recipe.yaml_text import read
from infoprune.surgery import Plan

RECIPE, METRICS, BOARD = "recipe.yaml", "metrics.jsonl", "tensorboard"


@dataclass(frozen=True)
class Folder:
    """Where a run keeps what it has. Worker 0 writes; the others wait until it is there."""

    path: Path

    @classmethod
    def opened(cls, path: Path, recipe: Recipe) -> Folder:
        """A new run's directory, or that of a run of the same recipe."""
        kept = path / RECIPE
        if kept.is_file():
            difference = changed(as_begun(path, kept_recipe(kept)), recipe)
            if difference is not None:
                raise InfopruneError(f"{path} holds a run of another recipe ({difference}); choose another --out")
        elif path.exists() and (not path.is_dir() or any(_foreign(path))):
            raise InfopruneError(f"{path} exists and is not a run of ours; choose another --out")
        folder = cls(path)
        Processes.now().wait()  # all have looked before the first one writes
        if not kept.is_file():
            folder.write(RECIPE, to_yaml(recipe))
        Processes.now().wait()
        return folder

    def has(self, name: str) -> bool:
        return (self.path / name).exists()

    def write(self, name: str, text: str) -> None:
        if Processes.now().first:
            (self.path / name).parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path / name, text.encode())
        Processes.now().wait()

    def write_json(self, name: str, value: Any) -> None:
        self.write(name, json.dumps(value))

    def read_json(self, name: str) -> Any:
        try:
            return json.loads((self.path / name).read_text())
        except ValueError as error:
            raise InfopruneError(f"{self.path / name} is damaged ({error}); remove it and run again") from error

    def write_tensors(self, name: str, tensors: Mapping[str, Any]) -> None:
        if Processes.now().first:
            (self.path / name).parent.mkdir(parents=True, exist_ok=True)
            save_tensors(self.path / name, tensors)
        Processes.now().wait()

    def plan(self, cut: str) -> Plan | None:
        path = self.path / cut / "plan.json"
        return Plan.from_json(path.read_text()) if path.is_file() else None


def as_begun(path: Path, recipe: Recipe) -> Recipe:
    """The recipe; a run that was begun before there were some keys goes on as runs went then."""
    sections = read(path / RECIPE) if (path / RECIPE).is_file() else None
    if sections is None:
        return recipe
    tuning = recipe.finetune
    if "norms" not in (sections.get("finetune") or {}):
        tuning = replace(tuning, norms="moving")
    return replace(recipe, finetune=tuning, compensate=recipe.compensate if "compensate" in sections else None)


class Metrics:
    """metrics.jsonl: one line a moment. After a kill, what was written past the last checkpoint is written again."""

    def __init__(self, path: Path, *, tensorboard: bool = False):
        self.path, self.tensorboard = path, tensorboard and Processes.now().first
        self.rows = list(_rows(path)) if path.is_file() else []
        self.last = {row["phase"]: row["step"] for row in self.rows if "step" in row}
        self._write_all()

    def progress(self, phase: str, progress: Progress) -> None:
        if self.last.get(phase, -1) >= progress.step:
            self.rows = [r for r in self.rows if r["phase"] != phase or r.get("step", -1) < progress.step]
            self._write_all()
        self._append({"phase": phase, **vars(progress)})

    def add(self, row: Mapping[str, Any]) -> None:
        """A row that is there is not written again."""
        if row not in self.rows:
            self._append(row)

    def _append(self, row: Mapping[str, Any]) -> None:
        self.rows.append(dict(row))
        self.last[row["phase"]] = row.get("step", self.last.get(row["phase"], -1))
        if Processes.now().first:
            with self.path.open("a") as file:
                file.write(json.dumps(row) + "\n")
            if self.board is not None:
                self.board.add(row)

    def of(self, phase: str) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["phase"] == phase]

    def _write_all(self) -> None:
        if Processes.now().first:
            write_atomically(self.path, "".join(json.dumps(row) + "\n" for row in self.rows).encode())
        self.board = Board(self.path.with_name(BOARD), self.rows) if self.tensorboard else None


def _foreign(path: Path) -> Iterator[Path]:
    """What is there beside files that a run was killed in the middle of writing."""
    return (entry for entry in path.iterdir() if not entry.name.endswith(".partial"))


def _rows(path: Path) -> Any:
    """Whole lines; the last may have been cut short."""
    for line in path.read_text().splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            return
        if isinstance(row, dict) and "phase" in row:
            yield row
