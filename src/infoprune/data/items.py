"""Anybody's data set as examples: a torch `Dataset`, a loader or batches of (x, y), as tuples or dicts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, Subset, default_collate

from infoprune.data.arrays import Pictures
from infoprune.data.base import Examples
from infoprune.data.files import pictured
from infoprune.data.held_out import classes_among
from infoprune.data.preprocessing import View
from infoprune.data.randomness import drawing, mixed, uniform_draws
from infoprune.errors import UnusableData

INPUTS = ("image", "pixel_values", "img", "images", "x", "input", "inputs", "data")
LABELS = ("label", "labels", "y", "target", "targets", "class", "fine_label")
Pair = tuple[Any, Any]


@dataclass(frozen=True)
class Items(Examples):
    """items[i] is (x, y) or a dict of them: x a picture (PIL, or bytes h x w x 3) or a tensor, y the number of a class.

    Pictures are made `size` x `size` as `view` says, with `augment` at random places; tensors are taken as they are,
    bytes normalised. Whatever items[i] draws at random is a function of (seed, epoch, i). `collate` is a loader's own.
    """

    items: Any = field(repr=False)
    view: View
    size: int
    augment: bool = False
    seed: int = 0
    collate: Callable[[list[Any]], Any] | None = None

    def __len__(self) -> int:
        return len(self.items)

    def batch(self, epoch: int, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        items = [self._item(epoch, int(i)) for i in indices]
        if self.collate is not None:
            x, y = pair_of(self.collate(items))
            return _batch_of(x, y)
        draws = uniform_draws(self.seed, epoch, list(indices), 5)
        pairs = [pair_of(item) for item in items]
        x = [self._tensor(x, draw) for (x, _), draw in zip(pairs, draws, strict=True)]
        different = sorted({tuple(one.shape) for one in x})
        if len(different) > 1:
            raise UnusableData(f"pictures have the shapes {different[:3]}; give all of them the same, in a transform")
        return torch.stack(x), torch.tensor([label_of(y) for _, y in pairs])

    @property
    def classes(self) -> int:
        """As the data set names or counts them, or one more than the largest label among a thousand examples."""
        whole = self.items
        while isinstance(whole, Subset):
            whole = whole.dataset
        for name in ("classes", "class_to_idx"):
            if isinstance(known := getattr(whole, name, None), Sequence | Mapping) and known:
                return len(known)
        if isinstance(count := getattr(whole, "num_classes", None), int):
            return count
        return classes_among(lambda i: int(self.batch(0, [i])[1].max()), len(self))

    def _item(self, epoch: int, index: int) -> Any:
        with drawing(mixed(self.seed, epoch, index)):
            return self.items[index]

    def _tensor(self, x: Any, draw: np.ndarray) -> Tensor:
        if isinstance(x, np.ndarray) and x.dtype == np.uint8 and x.ndim == 3 and x.shape[2] == 3:
            x = Image.fromarray(x)
        if isinstance(x, Image.Image):
            return pictured(x.convert("RGB"), self.size, self.view, draw if self.augment else None)
        if not isinstance(x, Tensor | np.ndarray):
            raise UnusableData(f"x is a {type(x).__name__}; give a picture, or a tensor c x h x w in a transform")
        x = torch.as_tensor(x)
        if x.dtype == torch.uint8:
            mean, std = (torch.tensor(numbers).view(-1, 1, 1) for numbers in (self.view.mean, self.view.std))
            return (x.float() / 255 - mean) / std
        return x


def examples_of(source: Any, *, view: View, size: int, augment: bool = False, seed: int = 0) -> Examples:
    """A data set, a loader of one, or batches (which are read once and kept) as examples.

    Args:
        source: A torch Dataset, a DataLoader, batches of (x, y), or Examples, which are given back.
        view: How pictures become tensors.
        size: Height and width that they are given.
        augment: Also crop and mirror them at random, as for training.
        seed: Of what is drawn at random.
    """
    if isinstance(source, Examples):
        return source
    collate = None
    if isinstance(source, DataLoader) and not isinstance(source.dataset, IterableDataset):
        collate = None if source.collate_fn is default_collate else source.collate_fn
        source = source.dataset
    if hasattr(source, "__getitem__") and hasattr(source, "__len__") and not _are_batches(source):
        if len(source) == 0:
            raise UnusableData("the data set is empty; give at least one example")
        return Items(source, view, size, augment, seed, collate)
    if isinstance(source, Iterable):
        return _kept(source)
    raise UnusableData(f"data are a {type(source).__name__}; give a torch Dataset, a DataLoader or batches of (x, y)")


def pair_of(item: Any) -> Pair:
    """(x, y) of a tuple or of a dict with one of the usual names for each."""
    if isinstance(item, Mapping):
        x = next((item[name] for name in INPUTS if name in item), None)
        y = next((item[name] for name in LABELS if name in item), None)
        if x is None or y is None:
            raise UnusableData(
                f"an example has the keys {', '.join(map(str, item))[:200]}; give one of {', '.join(INPUTS)} and "
                f"one of {', '.join(LABELS)}"
            )
        return x, y
    if isinstance(item, tuple | list) and len(item) >= 2:
        return item[0], item[1]
    raise UnusableData(f"an example is a {type(item).__name__}; give (x, y) or a dict of them")


def label_of(y: Any) -> int:
    if isinstance(y, Tensor | np.ndarray) and torch.as_tensor(y).numel() == 1:
        y = y.item()
    if isinstance(y, int | np.integer) and not isinstance(y, bool):
        return int(y)
    raise UnusableData(
        f"the target {y!r:.60} is not the number of a class; targets of other kinds come from a function that gives an "
        "infoprune.data.Task"
    )


def _are_batches(source: Any) -> bool:
    """Whether a list is one of batches, each with a row of labels, and not one of examples."""
    return isinstance(source, list | tuple) and bool(source) and torch.as_tensor(pair_of(source[0])[1]).dim() == 1


def _kept(batches: Iterable[Any]) -> Pictures:
    """Batches are read once: nothing but memory can be looked at in another order."""
    pairs = [_batch_of(*pair_of(batch)) for batch in batches]
    if not pairs:
        raise UnusableData("the loader is empty; give at least one batch")
    images, labels = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    return Pictures(images, labels)


def _batch_of(x: Any, y: Any) -> tuple[Tensor, Tensor]:
    x, y = torch.as_tensor(x), torch.as_tensor(y)
    if y.is_floating_point() or y.dim() != 1 or len(x) != len(y):
        raise UnusableData(
            f"a batch holds x {list(x.shape)} and y {list(y.shape)} of {y.dtype}; give n examples and n class numbers"
        )
    return x, y.long()
