"""A YOLOv3 through the public names, and the networks against the published counts."""

import runpy
import sys
from pathlib import Path

import pytest
import torch
import torch_pruning as tp

import infoprune as ip
from infoprune.models import models
from infoprune.models.yolov3_boxes import Scale, decode, detections, losses

SCRIPT = Path(__file__).parent.parent.parent / "integrations" / "yolo" / "prune_detector.py"

# Trainable parameters as counted elsewhere; numbers in the published weight files (bytes less a header of 20, by 4);
# operations for a picture of 416 x 416 as the paper's site prints them, two to a MAC.
PUBLISHED = {
    "yolov3": (61_949_149, (248_007_048 - 20) // 4, 65.86),
    "yolov3_tiny": (8_852_366, (35_434_956 - 20) // 4, 5.56),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_networks_are_the_published_ones(name):
    trainable, stored, operations = PUBLISHED[name]
    with torch.device("meta"):
        model = models[name]().eval()
    assert sum(p.numel() for p in model.parameters()) == trainable
    assert sum(t.numel() for key, t in model.state_dict().items() if "num_batches" not in key) == stored
    model = models[name]().eval()
    cells = (416 // 32) ** 2  # every layer's size goes with the picture's
    assert 2 * ip.measure(model, torch.zeros(1, 3, 32, 32)).macs * cells / 1e9 == pytest.approx(operations, abs=0.011)


def test_a_map_becomes_boxes_by_the_papers_formula():
    """Cell (2, 1) of stride 8: centre (sigmoid(0) + cell) 8, size anchor exp(t), score product of sigmoids."""
    level = torch.full((1, 3 * 7, 3, 4), -20.0)
    level.view(1, 3, 7, 3, 4)[0, 1, :, 1, 2] = torch.tensor([0.0, 0.0, 0.0, torch.tensor(2.0).log(), 20.0, 20.0, -20.0])
    scale = Scale(8, ((10, 13), (16, 30), (33, 23)))
    (found,) = detections([level], [scale], score=0.25, overlap=0.45)
    torch.testing.assert_close(found.boxes, torch.tensor([[20.0 - 8, 12.0 - 30, 20.0 + 8, 12.0 + 30]]))
    assert (found.labels.tolist(), found.scores.round(decimals=4).tolist()) == ([0], [1.0])
    boxes, scores = decode(level, scale)
    assert (boxes.shape, scores.shape) == ((1, 36, 4), (1, 36, 2))


def test_the_loss_vanishes_where_the_maps_say_the_targets():
    scale = Scale(8, ((10, 13), (16, 30), (33, 23)))
    target = {"boxes": torch.tensor([[12.0, -18.0, 28.0, 42.0]]), "labels": torch.tensor([0])}
    level = torch.full((1, 3 * 7, 3, 4), -30.0)
    said = [0.0, 0.0, 0.0, float(torch.tensor(2.0).log()), 30.0, 30.0, -30.0]
    level.view(1, 3, 7, 3, 4)[0, 1, :, 1, 2] = torch.tensor(said)
    told = losses([level], [scale], [target])
    entropy = 2 * float(torch.tensor(2.0).log())  # of the two offsets at one half, which no map can go below
    assert float(told["loss_box"]) == pytest.approx(entropy, rel=1e-5)
    assert float(told["loss_object"] + told["loss_class"]) < 1e-6


def test_every_convolution_but_the_maps_can_shrink():
    torch.manual_seed(0)
    model, x = models["yolov3_tiny"](num_classes=3).eval(), torch.randn(1, 3, 64, 64)
    plan = ip.plan(model, x, tp.importance.MagnitudeImportance(p=2), rates=0.5)
    assert "quarantined" not in plan.made_by
    assert ip.certificate_of(model, x, plan).verdict == "exact"
    ip.prune_(model, x, plan, certify=False)
    assert [level.shape[1] for level in model(x).levels] == [24, 24]
    assert ip.measure(model, x).macs == plan.prices["macs"].after < 0.3 * plan.prices["macs"].before


def test_the_script_that_people_copy_runs(monkeypatch, capsys, tmp_path):
    arguments = ("--size", "64", "--steps", "2", "--output", str(tmp_path / "yolo"))
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *arguments])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    out = capsys.readouterr().out
    assert out.startswith("exact")
    assert "boxes in 4 pictures" in out
