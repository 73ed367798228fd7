"""Bundled recipes made tiny: one batch, small pictures, generated folders of the layout that the data set has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from infoprune.recipe import Recipe, read_recipe

RECIPES = Path(__file__).parents[2] / "recipes"
SHORT = [
    "finetune.epochs=1", "finetune.warmup_epochs=0", "finetune.reestimate=8", "data.batch=8", "data.workers=0",
    "data.calibration=8", "report.latency=false",
]  # fmt: skip


def names() -> list[str]:
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def tiny(name: str, root: Path) -> Recipe:
    path, changes = RECIPES / f"{name}.yaml", list(SHORT)
    recipe = read_recipe(path)
    if recipe.data.name.startswith("cifar"):
        cifar(root, hundred=recipe.data.name == "cifar100")
        changes.append(f"data.root={root}")
    if recipe.data.name == "imagenet":
        folder(root, classes=2, each=4)
        changes += [f"data.root={root}", "data.size=64"]
    if recipe.model.pretrained:
        changes += ["model.pretrained=false", "model.num_classes=1000"]
    if recipe.tokens is not None:
        changes += ["model.name=test_vit", "data.size=160"]
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
