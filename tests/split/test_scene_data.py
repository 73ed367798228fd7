"""Rendered streets, a tiny folder laid out like Cityscapes, and the networks for both."""

import numpy as np
import pytest
import torch
from PIL import Image

import infoprune as ip
from infoprune.data.cityscapes import Cityscapes, classes
from infoprune.data.scenes import BASELINE_M, CLASSES, Scenes, SceneSet
from infoprune.errors import MissingData
from infoprune.models import small_three_task, three_task


def test_scenes_repeat_for_a_seed_and_differ_between_sides():
    first, again, test = (Scenes(height=16, width=32, train=t, seed=1).sample(3) for t in (True, True, False))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first.image, test.image)


def test_scenes_have_exact_geometry():
    views = Scenes(height=32, width=64, train=True, seed=0).sample(8)
    sky = views.labels == CLASSES.index("sky")
    assert torch.equal(sky, views.depth[:, 0].isinf())
    assert torch.equal(sky, views.disparity[:, 0] == 0)
    focal = (views.disparity * views.depth / BASELINE_M)[:, 0]
    for scene, hidden in zip(focal, sky, strict=True):
        torch.testing.assert_close(scene[~hidden], scene[~hidden].mean().expand_as(scene[~hidden]))
        assert 0.9 * 64 <= scene[~hidden].mean() <= 1.2 * 64
    assert 0 <= views.image.min() <= views.image.max() <= 1
    assert views.labels.unique().tolist() == list(range(views.labels.max() + 1))


def test_a_scene_set_gives_what_was_rendered():
    scenes = SceneSet(4, height=16, width=32, train=False, seed=2)
    image, targets = scenes[torch.tensor([3, 0])]
    views = Scenes(height=16, width=32, train=False, seed=2).sample(4)
    torch.testing.assert_close(image, views.image[[3, 0]], rtol=0, atol=0.5 / 255)
    assert torch.equal(targets["segmentation"], views.labels[[3, 0]])
    assert torch.equal(targets["reconstruction"], image)
    assert scenes[0][1]["disparity"].shape == (1, 16, 32)


@pytest.fixture
def folder(tmp_path):
    """One picture of 16 x 32 in each of the three packages."""
    files = {"leftImg8bit": "leftImg8bit", "gtFine": "gtFine_labelIds", "disparity": "disparity"}
    labels = np.full((16, 32), 7, "uint8")
    labels[8:], labels[:, :2] = 26, 4
    disparity = np.full((16, 32), 1 + 256 * 10, "uint16")
    disparity[:, 30:] = 0
    pictures = {"leftImg8bit": np.full((16, 32, 3), 51, "uint8"), "gtFine": labels, "disparity": disparity}
    for package, ending in files.items():
        place = tmp_path / package / "train" / "ulm"
        place.mkdir(parents=True)
        Image.fromarray(pictures[package]).save(place / f"ulm_000000_000019_{ending}.png")
    return tmp_path


def test_cityscapes_is_read_as_it_lies_on_disk(folder):
    data = Cityscapes(folder, height=8, width=16)
    image, targets = data[0]
    assert len(data) == 1
    torch.testing.assert_close(image, torch.full((3, 8, 16), 0.2))
    assert targets["segmentation"][0].tolist() == [255, *[0] * 15]
    assert targets["segmentation"][7].tolist() == [255, *[13] * 15]
    assert targets["disparity"][0, 0].tolist() == [5.0] * 15 + [0.0]  # half the width, half the pixels
    batch = next(iter(torch.utils.data.DataLoader(data)))
    outputs = three_task(width=4).eval()(batch[0].repeat(1, 1, 4, 4))
    assert outputs["segmentation"].shape == (1, 19, 32, 64)


def test_what_is_missing_is_named(folder):
    with pytest.raises(MissingData, match="needed: leftImg8bit, gtFine and disparity"):
        Cityscapes(folder, "val")
    next((folder / "disparity").rglob("*.png")).unlink()
    with pytest.raises(MissingData, match="no file of disparity"):
        Cityscapes(folder)[0]
    assert classes(torch.tensor([0, 7, 33, 255])).tolist() == [255, 0, 18, 255]


def test_the_papers_network_is_cut_at_its_36th_layer():
    model = three_task(width=4).eval()
    assert [int(name) for name in model.backbone.layers][-1] == 74
    split, x = ip.split.SplitModel(model, at="backbone.layers.36"), torch.rand(1, 3, 64, 128)
    features = split.edge(x)
    assert features.shape == (1, 8 * 4, 8, 16)
    with torch.no_grad():
        for task, output in split.cloud(features).items():
            assert torch.equal(output, model(x)[task])
    with torch.device("meta"):
        assert three_task().backbone.layers["36"].expand[0].out_channels == 256


def test_the_small_network_is_cut_at_its_neck():
    model, x = small_three_task().eval(), torch.rand(2, 3, 32, 64)
    split = ip.split.SplitModel(model, at="backbone.neck", heads=["disparity"])
    features = split.edge(x)
    assert features.shape == (2, 64, 4, 8)
    assert torch.equal(split.cloud(features)["disparity"], model(x)["disparity"])
