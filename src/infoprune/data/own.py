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
    arguments = {"root": root, "size": size, "seed": seed}
    halves = _halves(make, where, {k: v for k, v in arguments.items() if v is not None}, dict(options or {}))
    if isinstance(halves, Task):
        return halves
    side = size_of(size, FACTS, view)
    settings: dict[str, Any] = {"view": view or USUAL, "size": side, "seed": seed}
    train = examples_of(halves[0], augment=True, **settings)
    held_out = examples_of(halves[1], **settings)
    pictures, labels = held_out.batch(0, [0])
    if pictures.dim() != 4:
        raise UnusableData(f"{where} gives x of shape {list(pictures.shape[1:])}; give pictures, c x h x w")
    channels, height, width = pictures.shape[1:]
    return Task(name, train, held_out, _classes(train, labels), (channels, height, width))


def _halves(make: Any, where: str, offered: Mapping[str, Any], options: Mapping[str, Any]) -> Any:
    if not callable(make):
        return _pair(make, where)
    takes = taken(make)
    arguments = {**{k: v for k, v in offered.items() if k in takes}, **options}
    if "train" in takes and "train" not in arguments:
        return tuple(called(make, where, {**arguments, "train": train}) for train in (True, False))
    if "split" in takes and "split" not in arguments:
        return called(make, where, {**arguments, "split": "train"}), _held_out(make, where, arguments)
    return _pair(called(make, where, arguments), where)


def _held_out(make: Any, where: str, arguments: Mapping[str, Any]) -> Any:
    """The half that goes by one of the usual names; what was wrong with the first where none works."""
    errors = []
    for name in HELD_OUT:
        try:
            return called(make, where, {**arguments, "split": name})
        except BadOwnCode as error:
            errors.append(error)
    raise errors[0]


def _pair(source: Any, where: str) -> Any:
    if isinstance(source, Task):
        return source
    if isinstance(source, tuple | list) and len(source) == 2:
        return tuple(source)
    if isinstance(source, DataLoader):
        source = source.dataset
    if hasattr(source, "__getitem__") and hasattr(source, "__len__"):
        return split(source)
    raise BadOwnCode(
        f"{where} gives a {type(source).__name__}; it must give a data set, or a pair to train and to judge on"
    )


def _classes(train: Examples, labels: Any) -> int:
    if isinstance(train, Items):
        return train.classes
    known = getattr(train, "labels", labels)
    return 1 + int(known.max())
