"""Folders of pictures: one folder a class, ImageNet, COCO, and whatever timm can read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from infoprune.data.base import Facts, Task, data_set, existing, root_folder
from infoprune.data.files import opened, pictures_under
from infoprune.data.held_out import HELD_OUT, TRAIN, classes_among, named_halves, picture_task, split
from infoprune.data.preprocessing import View
from infoprune.errors import MissingData, first_line

HALVES = "train/<class>/*.jpg and val/<class>/*.jpg"
ANY_HALVES = f"{HALVES}, or <class>/*.jpg alone, of which every fifth is then held out"
PICTURES, IMAGENET, COCO_LABELS = Facts(None, 224), Facts(1000, 224), Facts(80, 550)
COCO = "train2017/*.jpg, val2017/*.jpg and annotations/instances_{train,val}2017.json"


@data_set("folder", PICTURES)
def folder(root: str | Path | None = None, *, size: int | None = None, seed: int = 0, view: View | None = None) -> Task:
    """Pictures under root/train/<class>/ and root/val/<class>/, or root/<class>/ (every fifth is then held out)."""
    source = "your own collection"
    place = root_folder(root, "pictures", ANY_HALVES, source)
    inside = {path.name: path for path in place.iterdir() if path.is_dir()}
    named = named_halves(inside)
    if named is None:
        for half in ("train", "val") if {*TRAIN, *HELD_OUT} & inside.keys() else ():
            existing(place / half, f"{half} half of the pictures", HALVES, source)
        names = _names(place, ANY_HALVES, source)
        train, val = split(_labelled(place, names, ANY_HALVES))
    else:
        names = _names(named[0], HALVES, source)
        train, val = (_labelled(half, names, HALVES) for half in named)
    return picture_task("folder", train, val, PICTURES, size=size, seed=seed, view=view, classes=len(names))


@data_set("imagenet", IMAGENET)
def imagenet(
    root: str | Path | None = None, *, size: int | None = None, seed: int = 0, view: View | None = None
) -> Task:
    """ILSVRC-2012 under root/train/<synset>/ and root/val/<synset>/, synsets numbered in the order of their names."""
    source = "https://image-net.org (move the validation pictures into folders named by synset)"
    layout = HALVES.replace("<class>", "<synset>")
    place = root_folder(root, "ImageNet", layout, source)
    train = existing(place / "train", "training pictures", layout, source)
    val = existing(place / "val", "validation pictures", layout, source)
    names = _names(train, layout, source)
    halves = _labelled(train, names, layout), _labelled(val, names, layout)
    return picture_task("imagenet", halves[0], halves[1], IMAGENET, size=size, seed=seed, view=view)


@data_set("coco", COCO_LABELS)
def coco(root: str | Path | None = None, *, size: int | None = None, seed: int = 0, view: View | None = None) -> Task:
    """COCO 2017's pictures with the category of their largest object: to calibrate on, not to score detectors."""
    place, source = root_folder(root, "COCO", COCO, "https://cocodataset.org"), "https://cocodataset.org"
    train, val = (coco_items(place, half, source) for half in ("train2017", "val2017"))
    return picture_task("coco", train, val, COCO_LABELS, size=size, seed=seed, view=view)


@data_set("timm", PICTURES)
def timm_reader(
    root: str | Path | None = None,
    *,
    reader: str,
    train_split: str = "train",
    held_out_split: str = "validation",
    size: int | None = None,
    seed: int = 0,
    view: View | None = None,
) -> Task:
    """What timm reads under a name such as `torch/cifar10`, `hfds/mnist`, `wds/...`; nothing is fetched."""
    from timm.data import create_dataset

    halves = []
    for half in (train_split, held_out_split):
        try:
            halves.append(ReadByTimm(create_dataset(reader, root=root and str(root), split=half, download=False)))
        except Exception as error:  # each reader fails in its own way
            raise MissingData(
                f"timm's reader {reader!r} finds no {half!r} under {root} ({first_line(error)}); set data.root and "
                "data.reader as timm.data.create_dataset takes them"
            ) from error
    train, val = halves
    return picture_task("timm", train, val, PICTURES, size=size, seed=seed, view=view, classes=train.classes)


class ReadByTimm(Sequence):
    """(image, label) by number from what timm.data.create_dataset gave."""

    def __init__(self, dataset: Any):
        self.source = getattr(dataset, "reader", dataset)  # torchvision's data sets come as they are

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, i: Any) -> tuple[Any, int]:
        if not 0 <= i < len(self):
            raise IndexError(i)
        picture, label = self.source[i]
        if isinstance(picture, Image.Image):
            return picture, int(label)
        with picture:
            return opened(picture), int(label)

    @property
    def classes(self) -> int:
        """As named by the reader, or one more than the largest label among a thousand examples."""
        named = getattr(self.source, "class_to_idx", None)
        return len(named) if named else classes_among(lambda i: self[i][1], len(self))


def coco_items(root: Path, half: str, source: str) -> list[tuple[Path, int]]:
    """Pictures of one half, with the index of the largest object's category (0 where there is none)."""
    existing(root / half, f"COCO {half}", COCO, source)
    path = existing(root / "annotations" / f"instances_{half}.json", "COCO annotations", COCO, source)
    content = json.loads(path.read_bytes())
    index = {c["id"]: i for i, c in enumerate(sorted(content["categories"], key=lambda c: c["id"]))}
    largest: dict[int, Mapping[str, Any]] = {}
    for object_ in content["annotations"]:
        held = largest.setdefault(object_["image_id"], object_)
        if object_["area"] > held["area"]:
            largest[object_["image_id"]] = object_
    known = {i: index[o["category_id"]] for i, o in largest.items()}
    return [(root / half / i["file_name"], known.get(i["id"], 0)) for i in content["images"]]


def _names(train: Path, layout: str, source: str) -> list[str]:
    """The classes, by the folders of the training pictures."""
    names = sorted(p.name for p in train.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not names:
        raise MissingData(f"{train} holds no folder; needed: {layout}; get it from {source}")
    return names


def _labelled(root: Path, names: Sequence[str], layout: str) -> list[tuple[Path, int]]:
    pairs = [(path, i) for i, name in enumerate(names) for path in pictures_under(root / name)]
    if not pairs:
        raise MissingData(f"{root} holds no picture in a folder named like those of train; needed: {layout}")
    return pairs
