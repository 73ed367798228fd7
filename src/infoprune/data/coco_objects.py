"""COCO's pictures at one size with their objects, for detectors that take batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from infoprune.data.base import Examples, Facts, Task, data_set, root_folder
from infoprune.data.coco import SOURCE, CocoInstances
from infoprune.data.folders import COCO
from infoprune.data.randomness import uniform_draws

SIZE = 550
FACTS = Facts(classes=81, size=SIZE, kind="objects")  # 80 categories and the background


@dataclass(frozen=True)
class Objects(Examples):
    """Pictures stretched to size x size with their objects; with `mirror` half of them are turned left to right."""

    pictures: CocoInstances
    size: int = SIZE
    mirror: bool = False
    seed: int = 0

    def __len__(self) -> int:
        return len(self.pictures)

    def batch(self, epoch: int, indices: Sequence[int]) -> tuple[Tensor, list[dict[str, Tensor]]]:
        draws = uniform_draws(self.seed, epoch, list(indices), 1)[:, 0]
        pairs = [self._one(int(i), self.mirror and draw < 0.5) for i, draw in zip(indices, draws, strict=True)]
        return torch.stack([image for image, _ in pairs]), [target for _, target in pairs]

    def _one(self, index: int, turned: bool) -> tuple[Tensor, dict[str, Tensor]]:
        image, target = self.pictures[index]
        height, width = image.shape[-2:]
        image = F.interpolate(image[None], size=(self.size, self.size), mode="bilinear", align_corners=False)[0]
        masks = target["masks"][:, None].float()
        masks = F.interpolate(masks, size=(self.size, self.size), mode="nearest")[:, 0] if len(masks) else masks[:, 0]
        boxes = target["boxes"] * torch.tensor([self.size / width, self.size / height]).repeat(2)
        if turned:
            image, masks, left = image.flip(-1), masks.flip(-1), self.size - boxes[:, 2]
            boxes = torch.stack([left, boxes[:, 1], self.size - boxes[:, 0], boxes[:, 3]], 1)
        return image, {**target, "boxes": boxes, "masks": masks.to(torch.uint8)}


@data_set("coco_instances", FACTS)
def coco_instances(root: str | Path | None = None, *, size: int | None = None, seed: int = 0) -> Task:
    """COCO 2017 with boxes and masks, stretched to `size` (550), to train and score detectors; needs pycocotools."""
    place, size = root_folder(root, "COCO", COCO, SOURCE), FACTS.height(size)
    train, val = (
        CocoInstances(str(place / half), str(place / "annotations" / f"instances_{half}.json"))
        for half in ("train2017", "val2017")
    )
    classes = 1 + len(train.categories)
    train_half = Objects(train, size, mirror=True, seed=seed)
    return FACTS.task("coco_instances", train_half, Objects(val, size), size, classes)
