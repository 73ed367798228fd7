"""Data of the user's own: a class, a function or an object in a Python file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader

from infoprune.data.base import Examples, Facts, Task
from infoprune.data.held_out import HELD_OUT, size_of, split
from infoprune.data.items import Items, examples_of
from infoprune.data.preprocessing import USUAL, View
from infoprune.errors import BadOwnCode, UnusableData
from infoprune.own_code import called, named_in, taken

FACTS = Facts(None, 224)


def own_task(
    file: Path,
    name: str,
    root: str | None = None,
    *,
    size: int | None = None,
    seed: int = 0,
    view: View | None = None,
    options: Mapping[str, Any] | None = None,
) -> Task:
    """What `name` in the file gives, as a task.

    It is called with what it takes of root, size and seed, and with its options. Where it takes `train` or `split`, as
    torchvision's data sets do, it is called for both halves. It may also give a pair of halves, a Task, or one data
    set, of which every fifth example is then held out. Halves are data sets, loaders, or batches of (x, y).

    Args:
        file: A Python file, which is run.
        name: A function, a class, or data that it defines.
        root: Where the data lie, for a function that takes `root`.
        size: Height and width of the pictures.
        seed: For a function that takes it, and of what is drawn at random.
        view: How pictures become tensors; by default as networks trained on ImageNet want them.
        options: Further arguments of the function.
    """
    make, where = named_in(file, name), f"{file.name}:{name}"
    given = {"root": root, "size": size, "seed": seed}
    found = _halves(make, where, {k: v for k, v in given.items() if v is not None}, dict(options or {}))
    if isinstance(found, Task):
        return found
    side = size_of(size, FACTS, view)
    told: dict[str, Any] = {"view": view or USUAL, "size": side, "seed": seed}
    train = examples_of(found[0], augment=True, **told)
    held_out = examples_of(found[1], **told)
    pictures, labels = held_out.batch(0, [0])
    if pictures.dim() != 4:
        raise UnusableData(f"{where} gives x of shape {list(pictures.shape[1:])}; give pictures, c x h x w")
    channels, height, width = pictures.shape[1:]
    return Task(name, train, held_out, _classes(train, labels), (channels, height, width))


def _halves(make: Any, where: str, offered: Mapping[str, Any], options: Mapping[str, Any]) -> Any:
    if not callable(make):
        return _pair(make, where)
    takes = taken(make)
    given = {**{k: v for k, v in offered.items() if k in takes}, **options}
    if "train" in takes and "train" not in given:
        return tuple(called(make, where, {**given, "train": train}) for train in (True, False))
    if "split" in takes and "split" not in given:
        return called(make, where, {**given, "split": "train"}), _held_out(make, where, given)
    return _pair(called(make, where, given), where)


def _held_out(make: Any, where: str, given: Mapping[str, Any]) -> Any:
    """The half that goes by one of the usual names; what was wrong with the first where none works."""
    errors = []
    for name in HELD_OUT:
        try:
            return called(make, where, {**given, "split": name})
        except BadOwnCode as error:
            errors.append(error)
    raise errors[0]


def _pair(found: Any, where: str) -> Any:
    if isinstance(found, Task):
        return found
    if isinstance(found, tuple | list) and len(found) == 2:
        return tuple(found)
    if isinstance(found, DataLoader):
        found = found.dataset
    if hasattr(found, "__getitem__") and hasattr(found, "__len__"):
        return split(found)
    raise BadOwnCode(
        f"{where} gives a {type(found).__name__}; it must give a data set, or a pair to train and to judge on"
    )


def _classes(train: Examples, labels: Any) -> int:
    if isinstance(train, Items):
        return train.classes
    known = getattr(train, "labels", labels)
    return 1 + int(known.max())
