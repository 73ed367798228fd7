"""A tiny folder in COCO's layout whose precision is known by construction."""

import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import infoprune as ip
from infoprune.data.coco import AtSize, CocoInstances, Score, evaluate, results, write_results
from infoprune.models import yolact_resnet18_fpn

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools' own

SQUARE = [[10, 5, 40, 5, 40, 35, 10, 35]]  # a polygon, 30 x 30
TALL = {"size": [48, 64], "counts": [48 * 50 + 8, 32, 16, 32, 16, 32, 48 * 64 - 48 * 52 - 40]}  # three columns as runs


def annotation(number: int, image: int, category: int, box: list[float], shape: object, crowd: int = 0) -> dict:
    area = box[2] * box[3]
    return {"id": number, "image_id": image, "category_id": category, "bbox": box, "segmentation": shape,
            "area": area, "iscrowd": crowd}  # fmt: skip


@pytest.fixture
def pictures(tmp_path):
    """Two pictures of 64 x 48; the first has two objects and a crowd, the second one object and a hole in the ids."""
    pytest.importorskip("pycocotools", reason="pycocotools is not installed")
    from pycocotools import mask

    (tmp_path / "val2017").mkdir()
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.png"):
        Image.fromarray(rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)).save(tmp_path / "val2017" / name)
    compressed = mask.frPyObjects(TALL, 48, 64)
    packed = {"size": [48, 64], "counts": compressed["counts"].decode()}
    told = {
        "images": [{"id": 7, "file_name": "a.png", "height": 48, "width": 64},
                   {"id": 9, "file_name": "b.png", "height": 48, "width": 64}],
        "categories": [{"id": 3, "name": "square"}, {"id": 11, "name": "tall"}],
        "annotations": [annotation(1, 7, 3, [10, 5, 30, 30], SQUARE), annotation(2, 7, 11, [50, 8, 3, 32], TALL),
                        annotation(3, 7, 3, [0, 0, 64, 48], TALL, 1), annotation(4, 9, 11, [50, 8, 3, 32], packed)],
    }  # fmt: skip
    path = tmp_path / "instances_val2017.json"
    path.write_text(json.dumps(told))
    return CocoInstances(tmp_path / "val2017", path)


def perfect(pictures: CocoInstances):
    """A detector that knows the answers, in the order in which it is asked."""
    answers = iter([pictures.target(image_id) for image_id in pictures.image_ids])

    def detect(batch):
        target = next(answers)
        scores = torch.linspace(0.9, 0.8, len(target["labels"]))
        return [{**target, "scores": scores, "masks": target["masks"][:, None].float()} for _ in batch]

    return detect


def test_polygons_and_both_kinds_of_runs_become_masks(pictures):
    assert len(pictures) == 2
    picture, target = pictures[0]
    assert picture.shape == (3, 48, 64)
    assert picture.min() >= 0
    assert picture.max() <= 1
    assert target["boxes"].tolist() == [[10, 5, 40, 35], [50, 8, 53, 40]]
    assert target["labels"].tolist() == [1, 2]
    square, tall = target["masks"]
    expected = torch.zeros(2, 48, 64, dtype=torch.uint8)
    expected[0, 5:35, 10:40] = 1
    expected[1, 8:40, 50:53] = 1
    assert torch.equal(square, expected[0])
    assert torch.equal(tall, expected[1])
    assert torch.equal(pictures[1][1]["masks"][0], expected[1])


def test_perfect_detections_have_a_precision_of_one(pictures):
    scores = evaluate(pictures, results(perfect(pictures), pictures))
    assert {kind: (s.ap, s.ap50, s.ap75) for kind, s in scores.items()} == {
        "boxes": (pytest.approx(1.0),) * 3, "masks": (pytest.approx(1.0),) * 3,
    }  # fmt: skip


def test_a_class_that_is_never_found_halves_the_mean(pictures):
    squares = [entry for entry in results(perfect(pictures), pictures) if entry["category_id"] == 3]
    assert evaluate(pictures, squares)["masks"].ap == pytest.approx(0.5)


def test_boxes_at_an_overlap_of_two_thirds_count_below_it_only(pictures):
    """Thresholds 0.5, 0.55, 0.6 and 0.65 of ten are passed."""
    found = [entry for entry in results(perfect(pictures), pictures) if entry["category_id"] == 3]
    x, y, w, h = found[0]["bbox"]
    found[0]["bbox"] = [x, y, w * 2 / 3, h]
    scores = evaluate(pictures, found)
    assert scores["boxes"].ap == pytest.approx(0.5 * 4 / 10)
    assert scores["masks"].ap == pytest.approx(0.5)


def test_the_results_file_is_what_pycocotools_reads(pictures, tmp_path, capsys):
    from pycocotools.coco import COCO

    found = results(perfect(pictures), pictures)
    path = write_results(tmp_path / "detections.json", found)
    read = COCO(str(pictures.annotations)).loadRes(str(path))
    assert len(read.getAnnIds()) == 3
    capsys.readouterr()
    evaluate(pictures, json.loads(path.read_text()))
    assert capsys.readouterr().out == ""


def test_nothing_found_is_a_precision_of_zero(pictures):
    assert evaluate(pictures, [])["boxes"] == Score(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def test_yolact_is_judged_on_pictures_of_any_size(pictures):
    torch.manual_seed(0)
    found = results(AtSize(yolact_resnet18_fpn(num_classes=3).eval(), (64, 64)), pictures)
    assert found
    assert {entry["category_id"] for entry in found} <= {3, 11}
    assert all(entry["segmentation"]["size"] == [48, 64] for entry in found)
    assert all(entry["bbox"][0] + entry["bbox"][2] <= 64.001 for entry in found)
    scores = evaluate(pictures, found)
    assert 0 <= scores["masks"].ap <= 1


def test_bad_folders_and_files_are_one_clear_error(pictures, tmp_path):
    with pytest.raises(ip.errors.MissingData, match="needed: a folder of pictures"):
        CocoInstances(tmp_path / "nowhere", pictures.annotations)
    for text, said in (("{", "is not JSON"), ("{}", "no list 'images'"), ('{"images": [{"id": 1}]}', "each needs")):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(ip.errors.UnusableData, match=said):
            CocoInstances(pictures.images, tmp_path / "bad.json")


def test_without_pycocotools_the_extra_is_named(pictures, monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools.mask", None)
    with pytest.raises(ip.errors.MissingExtra, match=r"infoprune\[coco\]"):
        pictures.target(7)
