"""Data with maps, objects or several right answers: pure functions of (epoch, index), whatever the targets are."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from tests.recipe.tiny import cityscapes, coco, picture, stamps

from infoprune.data import datasets
from infoprune.data.coco import CocoInstances, evaluate, precisions
from infoprune.errors import MissingData
from infoprune.finetune import hits

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools' own


def made(name, root):
    if name == "coco_instances":
        pytest.importorskip("pycocotools")
    {"coco_instances": coco, "cityscapes": cityscapes, "stamps": stamps, "scenes": lambda root: None}[name](root)
    more = {"scenes": {"scenes": 4, "held_out": 2}, "stamps": {"each": 2}}.get(name, {})
    return datasets[name](root, size=32, seed=1, **more)


def test_boxes_and_masks_follow_the_picture(tmp_path):
    pytest.importorskip("pycocotools")
    coco(tmp_path)
    for i in range(4):  # something bright where each annotation says that an object is
        pixels = np.zeros((40, 50, 3), np.uint8)
        pixels[5:25, 5:30] = 255
        Image.fromarray(pixels).save(tmp_path / "train2017" / f"{i}.jpg", quality=100)
    examples = datasets["coco_instances"](tmp_path, size=100, seed=0).train
    lefts = set()
    for epoch in range(6):
        images, targets = examples.batch(epoch, range(4))
        for image, target in zip(images, targets, strict=True):
            left, top, right, bottom = target["boxes"][0].round().int().tolist()
            inside = torch.zeros(100, 100, dtype=torch.bool)
            inside[top:bottom, left:right] = True
            assert (image.mean(0)[inside] > 0.5).float().mean() > 0.95
            assert (image.mean(0)[~inside] < 0.5).float().mean() > 0.95
            assert (inside == target["masks"][0].bool()).float().mean() > 0.95
            lefts.add(left)
    assert lefts == {10, 40}  # as they were, and turned


def test_precision_without_some_pictures_is_that_of_the_others(tmp_path):
    pytest.importorskip("pycocotools")
    coco(tmp_path)
    path = tmp_path / "annotations" / "instances_val2017.json"
    rng, told = np.random.default_rng(0), json.loads(path.read_text())
    found = [
        {"image_id": i, "category_id": 3, "bbox": [5.0 + 4 * rng.random(), 5.0, 25.0, 20.0], "score": rng.random()}
        for i in (0, 1, 2, 3) for _ in range(3)
    ]  # fmt: skip
    whole, *without = precisions(CocoInstances(str(tmp_path / "val2017"), str(path)), found, 2)["boxes"]
    assert whole == evaluate(CocoInstances(str(tmp_path / "val2017"), str(path)), found)["boxes"].ap
    for group, value in enumerate(without):
        kept = [i for i in range(4) if i % 2 != group]
        some = {key: [e for e in told[key] if e.get("image_id", e["id"]) in kept] for key in ("images", "annotations")}
        path.write_text(json.dumps({**told, **some}))
        left = CocoInstances(str(tmp_path / "val2017"), str(path))
        assert evaluate(left, [f for f in found if f["image_id"] in kept])["boxes"].ap == pytest.approx(value)


def test_stamps_are_pasted_and_halves_share_none(tmp_path):
    task = made("stamps", tmp_path)
    paths = [{path for path, _ in half.cutouts} for half in (task.train, task.held_out)]
    assert paths[0].isdisjoint(paths[1])
    assert len(task.held_out) == 4
    _, labels = task.held_out.batch(0, range(4))
    assert labels.tolist() == [[8, 7], [8, 7], [417, -1], [417, -1]]  # hen or cock, twice; balloon
    turned = task.train.batch(0, [0])[0], task.train.batch(1, [0])[0]
    assert not torch.equal(*turned)


def test_any_of_several_answers_is_right():
    class Two(torch.utils.data.Dataset):
        def __len__(self):
            return 3

        def batch(self, epoch, indices):
            return torch.eye(3)[list(indices)].view(-1, 3, 1, 1), torch.tensor([[0, 2], [0, 2], [0, 2]])[list(indices)]

    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3, 3, bias=False))
    model[1].weight.data = torch.eye(3)
    assert hits(model, Two()) == [True, False, True]


def test_photographs_of_the_user_are_behind_stamps(tmp_path):
    stamps(tmp_path / "cut")
    for i in range(3):
        picture(tmp_path / "photos" / f"{i}.png", i)
    task = datasets["stamps"](tmp_path / "cut", photos=str(tmp_path / "photos"), size=32)
    assert (len(task.train.behind), len(task.held_out.behind)) == (2, 1)


def test_the_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    from infoprune.data.digits import _table

    images, labels = load_digits(return_X_y=True)
    assert np.array_equal(_table(), np.column_stack([images, labels]))


@pytest.mark.parametrize("name", ["coco_instances", "cityscapes", "stamps"])
@pytest.mark.parametrize("root", [None, "nowhere"])
def test_missing_data_say_what_they_need(name, root):
    with pytest.raises(MissingData, match="get it from"):
        datasets[name](root)


def test_a_folder_without_known_stamps_is_told(tmp_path):
    picture(tmp_path / "cat.png", 0)
    with pytest.raises(MissingData, match="holds 0 of the 111 known stamps"):
        datasets["stamps"](tmp_path)
