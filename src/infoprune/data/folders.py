"""Folders of pictures: one folder a class, ImageNet, COCO, and whatever timm can read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from infoprune.data.base import Facts, Task, data_set, existing, given
from infoprune.data.files import Photographs, opened, pictures_under
from infoprune.errors import MissingData, UnusableData, first_line

HALVES = "train/<class>/*.jpg and val/<class>/*.jpg"
PICTURES, IMAGENET, COCO_LABELS = Facts(None, 224), Facts(1000, 224), Facts(80, 550)
COCO = "train2017/*.jpg, val2017/*.jpg and annotations/instances_{train,val}2017.json"


@data_set("folder", PICTURES)
def folder(root: str | Path | None = None, *, size: int | None = None, seed: int = 0) -> Task:
    """Pictures under root/train/<class>/ and root/val/<class>/; classes are numbered in the order of their names."""
    place = given(root, "pictures", HALVES, "your own collection")
    names, train, val = _halves(place, "your own collection")
    return _task("folder", train, val, PICTURES, size, seed, len(names))


@data_set("imagenet", IMAGENET)
def imagenet(root: str | Path | None = None, *, size: int | None = None, seed: int = 0) -> Task:
    """ILSVRC-2012 under root/train/<synset>/ and root/val/<synset>/, synsets numbered in the order of their names."""
    source = "https://image-net.org (move the validation pictures into folders named by synset)"
    place = given(root, "ImageNet", HALVES.replace("<class>", "<synset>"), source)
    _, train, val = _halves(place, source)
    return _task("imagenet", train, val, IMAGENET, size, seed)


@data_set("coco", COCO_LABELS)
def coco(root: str | Path | None = None, *, size: int | None = None, seed: int = 0) -> Task:
    """COCO 2017's pictures with the category of their largest object: to calibrate on, not to score detectors."""
    place, source = given(root, "COCO", COCO, "https://cocodataset.org"), "https://cocodataset.org"
    train, val = (coco_items(place, half, source) for half in ("train2017", "val2017"))
    return _task("coco", train, val, COCO_LABELS, size, seed)


@data_set("timm", PICTURES)
def timm_reader(
    root: str | Path | None = None,
    *,
    reader: str,
    train_split: str = "train",
    held_out_split: str = "validation",
    size: int | None = None,
    seed: int = 0,
) -> Task:
    """What timm reads under a name such as `torch/cifar10`, `hfds/mnist`, `wds/...`; nothing is fetched."""
    from timm.data import create_dataset

    halves = []
    for split in (train_split, held_out_split):
        try:
            halves.append(ReadByTimm(create_dataset(reader, root=root and str(root), split=split, download=False)))
        except Exception as error:  # each reader fails in its own way
            raise MissingData(
                f"timm's reader {reader!r} finds no {split!r} under {root} ({first_line(error)}); set data.root and "
                "data.reader as timm.data.create_dataset takes them"
            ) from error
    train, val = halves
    return _task("timm", train, val, PICTURES, size, seed, train.classes)


class ReadByTimm(Sequence):
    """(image, label) by number from what timm.data.create_dataset gave."""

    def __init__(self, dataset: Any):
        self.source = getattr(dataset, "reader", dataset)  # torchvision's data sets come as they are

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, i: Any) -> tuple[Any, int]:
        if not 0 <= i < len(self):
            raise IndexError(i)
        found, label = self.source[i]
        if isinstance(found, Image.Image):
            return found, int(label)
        with found:
            return opened(found), int(label)

    @property
    def classes(self) -> int:
        """As named by the reader, or one more than the largest label among the first thousand examples."""
        named = getattr(self.source, "class_to_idx", None)
        return len(named) if named else 1 + max(self[i][1] for i in range(min(1000, len(self))))


def coco_items(root: Path, half: str, source: str) -> list[tuple[Path, int]]:
    """Pictures of one half, with the index of the largest object's category (0 where there is none)."""
    existing(root / half, f"COCO {half}", COCO, source)
    path = existing(root / "annotations" / f"instances_{half}.json", "COCO annotations", COCO, source)
    told = json.loads(path.read_bytes())
    index = {c["id"]: i for i, c in enumerate(sorted(told["categories"], key=lambda c: c["id"]))}
    largest: dict[int, Mapping[str, Any]] = {}
    for object_ in told["annotations"]:
        held = largest.setdefault(object_["image_id"], object_)
        if object_["area"] > held["area"]:
            largest[object_["image_id"]] = object_
    known = {i: index[o["category_id"]] for i, o in largest.items()}
    return [(root / half / i["file_name"], known.get(i["id"], 0)) for i in told["images"]]


def _halves(root: Path, source: str) -> tuple[list[str], list, list]:
    train = existing(root / "train", "training pictures", HALVES, source)
    val = existing(root / "val", "validation pictures", HALVES, source)
    names = sorted(p.name for p in train.iterdir() if p.is_dir())
    if not names:
        raise MissingData(f"{train} holds no folder; needed: {HALVES}; get it from {source}")
    return names, _labelled(train, names), _labelled(val, names)


def _labelled(root: Path, names: Sequence[str]) -> list[tuple[Path, int]]:
    found = [(path, i) for i, name in enumerate(names) for path in pictures_under(root / name)]
    if not found:
        raise MissingData(f"{root} holds no picture in a folder named like those of train; needed: {HALVES}")
    return found


def _task(name: str, train: Any, val: Any, facts: Facts, size: int | None, seed: int, classes: int = 0) -> Task:
    size = facts.height(size)
    if not 1 <= size <= 4096:
        raise UnusableData(f"data.size is {size}; give the side of a picture in pixels, from 1 to 4096")
    augmented = Photographs(train, size, augment=True, seed=seed)
    return facts.task(name, augmented, Photographs(val, size), size, classes)
