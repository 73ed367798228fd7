"""Bundled recipes made tiny: one batch, small pictures, generated folders of the layout that the data set has."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from infoprune.recipe import Recipe, read_recipe
from infoprune.recipe.members import sizes_of

RECIPES = Path(__file__).parents[2] / "recipes"
SHORT = [
    "finetune.epochs=1", "finetune.warmup_epochs=0", "finetune.reestimate=8", "data.batch=8", "data.workers=0",
    "data.calibration=8", "report.latency=false",
]  # fmt: skip


SMALL = {
    "imagenet-deit_s-tokens": ["model.name=test_vit", "data.size=160", "tokens.schedule={2: 0.7}"],
    "imagenet-lvvit_s-tokens": ["model.name=lv_vit_tiny", "data.size=224", "data.batch=2", "tokens.schedule={1: 0.5}"],
    "coco-yolact": ["model.name=yolact_resnet18_fpn", "data.size=64", "data.batch=4"],
    "stamps-mobilenetv2": ["data.size=64", "data.each=4"],
    "scenes-split": ["data.size=32", "data.scenes=8", "data.held_out=4", "finetune.epochs=0", "finetune.reestimate=0"],
    "cityscapes-split": [
        "model.name=small_three_task", "model.num_classes=19", "data.size=32", "split.at=backbone.neck",
        "split.patch=2", "finetune.epochs=0", "finetune.reestimate=0", "sweep.pictures=2", "sweep.qps=30",
        "sweep.shares=0.5", "sweep.bases=0.5", "sweep.encoders=hevc", "split.cells=4",
    ],
}  # fmt: skip


def names() -> list[str]:
    """Those of one run; recipes that vary keys are for bench."""
    return [name for name in _all() if name not in families()]


@cache
def families() -> list[str]:
    """Those that list several sizes."""
    return [name for name in _all() if sizes_of(read_recipe(RECIPES / f"{name}.yaml"))]


def _all() -> list[str]:
    return sorted(path.stem for path in RECIPES.glob("*.yaml") if "\nvary:" not in path.read_text(encoding="utf-8"))


def tiny(name: str, root: Path) -> Recipe:
    path, changes = RECIPES / f"{name}.yaml", list(SHORT)
    recipe = read_recipe(path)
    if recipe.data.name in LAYOUTS:
        LAYOUTS[recipe.data.name](root)
        changes.append(f"data.root={root}")
    if recipe.data.name.startswith("cifar"):
        cifar(root, hundred=recipe.data.name == "cifar100")
        changes.append(f"data.root={root}")
    if recipe.data.name == "imagenet":
        folder(root, classes=2, each=4)
        changes += [f"data.root={root}", "data.size=64"]
    if recipe.model.pretrained:
        changes += ["model.pretrained=false", "model.num_classes=1000"]
    changes += SMALL.get(name, [])
    if recipe.model.train_epochs:
        changes.append("model.train_epochs=0")
    if recipe.depth is not None:
        changes += ["depth.samples=16", "depth.stages=2"]
    if recipe.data.name in ("digits", "digits_on_photos"):
        changes += ["finetune.epochs=0.01"]
    changes.append(f"report.baseline_epochs={0.01 if recipe.data.name == 'digits' else 0}")
    return read_recipe(path, changes)


def cifar(root: Path, *, hundred: bool, n: int = 8) -> None:
    place, labels = root / ("cifar-100-binary" if hundred else "cifar-10-batches-bin"), 2 if hundred else 1
    place.mkdir(parents=True, exist_ok=True)
    names = ["train.bin", "test.bin"] if hundred else [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
    for seed, name in enumerate(names):
        rows = np.random.default_rng(seed).integers(0, 256, (n, labels + 3072), dtype=np.uint8)
        rows[:, labels - 1] = np.arange(n) % 4
        rows.tofile(place / name)


def folder(root: Path, *, classes: int, each: int) -> None:
    for half in ("train", "val"):
        for c in range(classes):
            (root / half / f"n{c}").mkdir(parents=True, exist_ok=True)
            for i in range(each):
                pixels = np.random.default_rng(10 * c + i).integers(0, 256, (40, 50, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / half / f"n{c}" / f"{i}.png")


def picture(path: Path, seed: int, size: tuple[int, int] = (50, 40), mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (size[1], size[0], *((len(mode),) if len(mode) > 1 else ()))
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8), mode).save(path)


def coco(root: Path) -> None:
    """Four pictures a half with one object each; masks are polygons."""
    for half in ("train2017", "val2017"):
        for i in range(4):
            picture(root / half / f"{i}.jpg", i)
        images = [{"id": i, "file_name": f"{i}.jpg", "width": 50, "height": 40} for i in range(4)]
        annotations = [
            {"id": 1 + i, "image_id": i, "category_id": 3, "iscrowd": 0, "area": 500.0, "bbox": [5.0, 5.0, 25.0, 20.0],
             "segmentation": [[5, 5, 30, 5, 30, 25, 5, 25]]} for i in range(4)
        ]  # fmt: skip
        told = {"images": images, "annotations": annotations, "categories": [{"id": 3}, {"id": 7}]}
        (root / "annotations").mkdir(exist_ok=True)
        (root / "annotations" / f"instances_{half}.json").write_text(json.dumps(told))


def cityscapes(root: Path) -> None:
    for split in ("train", "val"):
        for i in range(4):
            name = f"ulm_00000{i}_000019"
            picture(root / "leftImg8bit" / split / "ulm" / f"{name}_leftImg8bit.png", i, (64, 32))
            for package, ending in (("gtFine", "gtFine_labelIds"), ("disparity", "disparity")):
                rng, path = np.random.default_rng(i), root / package / split / "ulm" / f"{name}_{ending}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                values = rng.integers(0, 34, (32, 64)) if package == "gtFine" else rng.integers(0, 9000, (32, 64))
                Image.fromarray(values.astype(np.uint8 if package == "gtFine" else np.uint16)).save(path)


def stamps(root: Path) -> None:
    for i, name in enumerate(("animals/birds/hen", "animals/birds/duck", "food/fruit/lemon", "vehicles/balloon360")):
        picture(root / "stamps" / f"{name}.png", i, (20, 30), "RGBA")


LAYOUTS = {"coco_instances": coco, "cityscapes": cityscapes, "stamps": stamps}
