"""Weights from a file that somebody's training wrote, under the names that a model has for them."""

from __future__ import annotations

import argparse
import logging
import pathlib
import pickle
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from infoprune.errors import BadCheckpoint, first_line

State = dict[str, Tensor]
HOLDERS = ("state_dict", "model_state_dict", "model", "state_dict_ema", "model_ema", "net")  # the first one counts
WRAPPED = re.compile(r"(?:(?:module|_orig_mod|backbone|model|net)\.)+")
COUNTER = "num_batches_tracked"  # of batch norms; checkpoints of old have none
NAMED = 3
log = logging.getLogger("infoprune")


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Fill `model` with the weights in a safetensors file or a checkpoint; code in it is never run.

    Checkpoints may hold the tensors as they are or as one entry of several (`state_dict`, `model`, ...), and names may
    carry what wrappers put in front (`module.`, `_orig_mod.`, `backbone.`). BadCheckpoint says what does not fit.
    """
    path = Path(path)
    model.load_state_dict(_fitted(_held(_read(path), path), model, path))


OPTIONS_OF_LIGHTNING = (
    "lightning.fabric.utilities.data.AttributeDict", "lightning_fabric.utilities.data.AttributeDict",
    "lightning.pytorch.utilities.parsing.AttributeDict", "pytorch_lightning.utilities.parsing.AttributeDict",
)  # fmt: skip


def _harmless() -> list[Any]:
    """What may lie beside tensors: options as trainings keep them, paths, and numbers of numpy. None of it is code."""
    import numpy as np

    scalar = np.float64(0).__reduce__()[0]
    kinds = {type(np.dtype(kind)) for kind in ("bool", "int32", "int64", "float16", "float32", "float64")}
    numbers = [np.dtype, *kinds, *((scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core"))]
    plain = [argparse.Namespace, defaultdict, dict, pathlib.PosixPath, pathlib.PurePosixPath, pathlib.WindowsPath]
    return [*plain, *numbers, *((dict, name) for name in OPTIONS_OF_LIGHTNING)]


def _read(path: Path) -> Any:
    if not path.is_file():
        raise BadCheckpoint(f"there is no file {path}; give a checkpoint or a safetensors file")
    try:
        if _is_safetensors(path):
            from safetensors.torch import load_file

            return load_file(path)
        with torch.serialization.safe_globals(_harmless()):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        match = re.search(r"GLOBAL (\S+)", str(error))
        what = f"an object of {match[1]}, which is code" if match else "something that is not plain data"
        raise BadCheckpoint(
            f"{path} holds {what} and is not unpickled; save the weights alone: torch.save(model.state_dict(), path)"
        ) from error
    except Exception as error:
        why = f"{first_line(error):.200}"
        raise BadCheckpoint(f"{path} cannot be read as a checkpoint ({why}); copy it again") from error


def _is_safetensors(path: Path) -> bool:
    """A length in eight bytes and a header in JSON; what torch writes is a zip archive or a pickle."""
    with path.open("rb") as file:
        return path.suffix == ".safetensors" or file.read(9)[8:] == b"{"


def _held(content: Any, path: Path) -> State:
    """The tensors, wherever the training put them."""
    if isinstance(content, Mapping):
        holders = [key for key in HOLDERS if isinstance(content.get(key), Mapping) and _tensors(content[key])]
        if holders:
            if len(holders) > 1:
                log.warning("%s: %s is read, not %s", path, holders[0], ", ".join(holders[1:]))
            return _tensors(content[holders[0]])
        if state := _tensors(content):
            return state
    kind = f"a dictionary of {list(content)[:NAMED]}" if isinstance(content, Mapping) else type(content).__name__
    raise BadCheckpoint(f"{path} holds {kind:.200} and no weights; known entries are {', '.join(HOLDERS)}")


def _tensors(entries: Mapping[Any, Any]) -> State:
    return {str(name): value for name, value in entries.items() if isinstance(value, Tensor)}


def _fitted(state: State, model: nn.Module, path: Path) -> State:
    own = {name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)}
    best = max(_unwrapped(state), key=lambda candidate: len(candidate.keys() & own.keys()))
    best |= {name: value for name, value in own.items() if name.endswith(COUNTER) and name not in best}
    missing = [name for name in own if name not in best]
    foreign = [name for name in best if name not in own]
    if missing or foreign:
        raise BadCheckpoint(f"{path} does not hold this model's weights: {_names(missing, foreign)}")
    odd = {name: (value.shape, own[name].shape) for name, value in best.items() if value.shape != own[name].shape}
    if odd:
        raise BadCheckpoint(f"{path} {_sizes(odd)}")
    return best


def _unwrapped(state: State) -> Iterator[State]:
    """The tensors as they are named, and without what stands in front of names, for everything that does.

    Entries beside those, such as a loss function's beside a network's, are kept if they have no such front themselves.
    """
    yield dict(state)
    whole = {match[0] for name in state if (match := WRAPPED.match(name))}
    fronts = {front[: at + 1] for front in whole for at, letter in enumerate(front) if letter == "."}
    for front in sorted(fronts, key=len):
        inside = {name.removeprefix(front): value for name, value in state.items() if name.startswith(front)}
        yield inside
        yield {**{name: value for name, value in state.items() if not name.startswith(front)}, **inside}


def _names(missing: list[str], foreign: list[str]) -> str:
    there = f"it has {_some(foreign)}, which the model has not" if foreign else "all that it has is the model's"
    here = f"the model has {_some(missing)}, which it has not" if missing else "all that the model has is there"
    return f"{there}, and {here}; build the model that was trained"


def _some(names: list[str]) -> str:
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def _sizes(odd: Mapping[str, tuple[torch.Size, torch.Size]]) -> str:
    """Heads differ in their first axis alone, and all by the same classes."""
    classes = {(there[0], here[0]) for there, here in odd.values() if there[1:] == here[1:] and len(there)}
    if len(classes) == 1 and all(there[1:] == here[1:] and len(there) for there, here in odd.values()):
        there, here = classes.pop()
        head = ", ".join(list(odd)[:NAMED])
        return (
            f"was trained for {there} classes and the model is built for {here} ({head}); "
            f"give num_classes={there} (--num-classes {there})"
        )
    differences = "; ".join(
        f"{name} is {list(a)} in it and {list(b)} in the model" for name, (a, b) in list(odd.items())[:3]
    )
    return f"does not hold this model's weights: {differences}; build the model that was trained"
