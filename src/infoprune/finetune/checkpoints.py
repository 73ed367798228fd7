"""Checkpoints that are whole or absent: written beside, synced and renamed, the last two kept."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from infoprune.errors import InfopruneError
from infoprune.files import digest_of, remove, replacing, sync, write_tensors

TENSORS, FACTS = "state.safetensors", "state.json"
KEPT = 2


@dataclass(frozen=True)
class State:
    """Everything that training goes on from: tensors by name, and numbers."""

    step: int
    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Checkpoints:
    """A directory of checkpoints; `say` is told when one is lost."""

    directory: Path
    say: Callable[[str], None]

    def write(self, state: State) -> bool:
        """Keep the state; on a full disk say so and go on. Returns whether it was written."""
        target, staging = self.directory / _name(state.step), self.directory / f".{_name(state.step)}.partial"
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            remove(staging)
            staging.mkdir()
            _write_parts(staging, state)
            shutil.rmtree(target, ignore_errors=True)
            staging.rename(target)
            sync(self.directory)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(staging, ignore_errors=True)
            self.say(f"no checkpoint at step {state.step} ({error}); going on from the one before if stopped now")
            return False
        self._forget(state.step)
        return True

    def newest(self) -> State | None:
        """The last whole checkpoint; None where there is none. Says which were passed over."""
        for path in sorted(self.directory.glob("step-*"), reverse=True):
            try:
                return _read(path)
            except (OSError, ValueError, KeyError, SafetensorError) as error:
                self.say(f"{path} is damaged ({error}); going on from the checkpoint before it")
        return None

    def clear(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)

    def _forget(self, step: int) -> None:
        """Only the last two stay; none is from later than `step`, which was reached without it."""
        folders = sorted(self.directory.glob("step-*"))
        later = [path for path in folders if path.name > _name(step)]
        for path in [*later, *[p for p in folders if p not in later][:-KEPT]]:
            shutil.rmtree(path, ignore_errors=True)


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """One safetensors file, whole or absent."""
    with replacing(path) as draft:
        write_tensors(draft, _storable(tensors))


def load_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return {name: tensor.clone() for name, tensor in load_file(path).items()}
    except (OSError, SafetensorError) as error:
        raise InfopruneError(f"{path} cannot be read ({error}); remove it to have it made again") from error


def _write_parts(folder: Path, state: State) -> None:
    write_tensors(folder / TENSORS, _storable(state.tensors))
    facts = {"step": state.step, "sha256": digest_of(folder / TENSORS), "facts": dict(state.facts)}
    (folder / FACTS).write_text(json.dumps(facts))
    for name in (TENSORS, FACTS):
        sync(folder / name)
    sync(folder)


def _read(folder: Path) -> State:
    facts = json.loads((folder / FACTS).read_text())
    if digest_of(folder / TENSORS) != facts["sha256"]:
        raise ValueError("its tensors are not those that were written")
    return State(facts["step"], load_tensors(folder / TENSORS), facts["facts"])


def _storable(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}


def _name(step: int) -> str:
    return f"step-{step:09d}"
