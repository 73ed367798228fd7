"""What a data set is: examples that are a pure function of (seed, epoch, index), in two parts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from torch import Tensor

from infoprune.errors import MissingData
from infoprune.registry import Registry

datasets = Registry("data set")
Kind = Literal["labels", "maps", "objects"]
Read = TypeVar("Read", bound="Callable[..., Task]")
Targets = Tensor | Mapping[str, Tensor] | Sequence[Mapping[str, Tensor]]


class Examples(ABC):
    """Pictures with what is to be said of them. The same (epoch, indices) give the same tensors, in any process."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def batch(self, epoch: int, indices: Sequence[int]) -> tuple[Tensor, Targets]:
        """The examples with these indices, as seen in this epoch: pictures n x c x h x w and their targets.

        Labels are n, or n x k where several are right (-1 fills up); maps are {task: n x c x h x w}; objects are one
        dict a picture, as torchvision's detectors take them.
        """


@dataclass(frozen=True)
class Task:
    """What to train on and what to judge by; `shape` is that of one picture, channels first.

    `kind` says what targets are; `classes` of objects count the background.
    """

    name: str
    train: Examples
    held_out: Examples
    classes: int
    shape: tuple[int, int, int]
    kind: Kind = "labels"


@dataclass(frozen=True)
class Facts:
    """What is known of a data set before it is read; `classes` is None where its files decide.

    Pictures are `size` high unless another size is asked for, which counts for nothing where it is `fixed`, and `wide`
    times as wide.
    """

    classes: int | None
    size: int
    kind: Kind = "labels"
    wide: int = 1
    fixed: bool = False

    def height(self, size: int | None) -> int:
        return self.size if size is None or self.fixed else size

    def shape(self, size: int | None) -> tuple[int, int, int]:
        """Of one picture, channels first."""
        return 3, self.height(size), self.wide * self.height(size)

    def task(self, name: str, train: Examples, held_out: Examples, size: int | None, classes: int = 0) -> Task:
        """Its halves as a task.

        Args:
            name: Of the data set.
            train: Examples to learn from.
            held_out: Examples to be judged by.
            size: Height and width of the pictures; by default that of these facts.
            classes: As many as the files have, where they decide.
        """
        return Task(name, train, held_out, classes or self.classes or 0, self.shape(size), self.kind)


_FACTS: dict[Callable[..., Task], Facts] = {}


def data_set(name: str, facts: Facts) -> Callable[[Read], Read]:
    """Decorator: file a function `(root, *, size, seed, ...) -> Task` under `name`, with what is known beforehand."""

    def file(read: Read) -> Read:
        _FACTS[read] = facts
        return datasets.register(name)(read)

    return file


def facts_of(name: str) -> Facts | None:
    """What is known of the data set of that name without reading it."""
    return _FACTS.get(datasets[name])


def existing(path: Path, what: str, layout: str, source: str) -> Path:
    """The path, or one error with the layout that is needed and where to get it."""
    if not path.exists():
        raise MissingData(f"there is no {what} at {path}; needed: {layout}; get it from {source}")
    return path


def root_folder(root: str | Path | None, what: str, layout: str, source: str) -> Path:
    """The root that a recipe must name."""
    if root is None:
        raise MissingData(f"{what} needs data.root, a folder with {layout}; get it from {source}")
    return existing(Path(root), f"folder for {what}", layout, source)
