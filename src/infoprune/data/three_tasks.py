"""Streets with three answers each - classes, disparity and the picture itself - as examples to train on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from infoprune.data.base import Examples, Facts, Task, data_set, root_folder
from infoprune.data.cityscapes import LAYOUT, SOURCE, TRAIN_IDS, Cityscapes
from infoprune.data.randomness import uniform_draws
from infoprune.data.scenes import CLASSES, SceneSet

SCENES = Facts(classes=len(CLASSES), size=64, kind="maps", wide=2)
CITYSCAPES = Facts(classes=len(TRAIN_IDS), size=256, kind="maps", wide=2)


@dataclass(frozen=True)
class Rendered(Dataset):
    """Scenes that are rendered when the first one is looked at."""

    count: int
    height: int
    train: bool
    seed: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        return self._scenes[index]

    @cached_property
    def _scenes(self) -> SceneSet:
        return SceneSet(self.count, height=self.height, width=2 * self.height, train=self.train, seed=self.seed)


@dataclass(frozen=True)
class Maps(Examples):
    """(picture, {task: map}) pairs; with `mirror` half of them are turned left to right."""

    pairs: Dataset = field(repr=False)
    mirror: bool = False
    seed: int = 0

    def __len__(self) -> int:
        return len(self.pairs)  # type: ignore[arg-type]

    def batch(self, epoch: int, indices: Sequence[int]) -> tuple[Tensor, dict[str, Tensor]]:
        pairs = [self.pairs[int(i)] for i in indices]
        images = torch.stack([image for image, _ in pairs])
        targets = {task: torch.stack([maps[task] for _, maps in pairs]) for task in pairs[0][1]}
        if not self.mirror:
            return images, targets
        turned = torch.from_numpy(uniform_draws(self.seed, epoch, list(indices), 1)[:, 0] < 0.5)
        return _turned(images, turned), {task: _turned(maps, turned) for task, maps in targets.items()}


def _turned(maps: Tensor, turned: Tensor) -> Tensor:
    return torch.where(turned.view(-1, *[1] * (maps.dim() - 1)), maps.flip(-1), maps)


@data_set("scenes", SCENES)
def scenes(
    root: str | Path | None = None, *, scenes: int = 1500, held_out: int = 200, size: int | None = None, seed: int = 0
) -> Task:
    """Rendered streets wearing photographs, `size` (64) high and twice as wide; needs no download, a minute to draw."""
    height = SCENES.height(size)
    train, test = Rendered(scenes, height, True, 0), Rendered(held_out, height, False, 7)
    return _task("scenes", train, test, SCENES, height, seed)


@data_set("cityscapes", CITYSCAPES)
def cityscapes(root: str | Path | None = None, *, size: int | None = None, seed: int = 0) -> Task:
    """Cityscapes: leftImg8bit, gtFine and disparity under the root, made `size` (256) high and twice as wide."""
    place, height = root_folder(root, "Cityscapes", LAYOUT, SOURCE), CITYSCAPES.height(size)
    train, val = (Cityscapes(place, split, height=height, width=2 * height) for split in ("train", "val"))
    return _task("cityscapes", train, val, CITYSCAPES, height, seed)


def _task(name: str, train: Dataset, held_out: Dataset, facts: Facts, height: int, seed: int) -> Task:
    return facts.task(name, Maps(train, mirror=True, seed=seed), Maps(held_out), height)
