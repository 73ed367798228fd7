"""What is trained on and what is held out, where the data do not say it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
from torch.utils.data import Subset

from infoprune.data.base import Facts, Task
from infoprune.data.files import Photographs
from infoprune.data.preprocessing import USUAL, View
from infoprune.data.randomness import shuffled
from infoprune.errors import UnusableData

TRAIN, HELD_OUT = ("train", "training"), ("val", "valid", "validation", "test")
EVERY = 5  # one in five is held out
Half = TypeVar("Half")


def named_halves(halves: Mapping[str, Half]) -> tuple[Half, Half] | None:
    """The halves that go by one of the usual names each; None without such a pair."""
    train = next((halves[name] for name in TRAIN if name in halves), None)
    held_out = next((halves[name] for name in HELD_OUT if name in halves), None)
    return None if train is None or held_out is None else (train, held_out)


def split(items: Any) -> tuple[Subset, Subset]:
    """Four in five to train on, the others held out: the same ones every time, whatever the seed of a run."""
    order = shuffled(len(items), 0, 0).tolist()
    return Subset(items, sorted(order[len(items) // EVERY :])), Subset(items, sorted(order[: len(items) // EVERY]))


def picture_task(
    name: str, train: Any, val: Any, facts: Facts, *, size: int | None, seed: int, view: View | None, classes: int = 0
) -> Task:
    """Halves of (picture, label), seen as `view` says: by chance to train on, at their centre to judge by."""
    view = view or USUAL
    size = size_of(size, facts, view)
    augmented = Photographs(train, size, augment=True, seed=seed, view=view)
    return facts.task(name, augmented, Photographs(val, size, view=view), size, classes)


def size_of(size: int | None, facts: Facts, view: View | None) -> int:
    """The size that is asked for, that the network was made for, or the usual one of the data."""
    side = facts.height(size or (view.size if view else None))
    if not 1 <= side <= 4096:
        raise UnusableData(f"data.size is {side}; give the side of a picture in pixels, from 1 to 4096")
    return side


def classes_among(label: Callable[[int], int], count: int) -> int:
    """One more than the largest label among a thousand examples, evenly spread."""
    places = np.unique(np.linspace(0, count - 1, min(1000, count)).astype(int))
    return 1 + max(label(int(place)) for place in places)
