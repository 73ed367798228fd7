"""Both halves together are the model, and a layer that is no cut is refused with what crosses it."""

import io

import pytest
import timm
import torch
import torchvision
from tests.fresh import python
from tests.split.split_nets import Branches, Skip
from torch import nn
from torch.utils._pytree import tree_leaves

import infoprune as ip
from infoprune.errors import ExportFailed, NotACut, UnknownName

SEGMENTATION = torchvision.models.segmentation.lraspp_mobilenet_v3_large
DETECTION = torchvision.models.detection.ssdlite320_mobilenet_v3_large
MODELS = {
    "plain": (Skip, "join", (2, 3, 16, 20)),
    "stem": (Skip, "stem", (1, 3, 15, 19)),
    "timm convolutions": (lambda: timm.create_model("resnet10t"), "layer2", (2, 3, 32, 32)),
    "timm transformer": (lambda: timm.create_model("test_vit"), "blocks.0", (2, 3, 160, 160)),
    "segmentation": (lambda: SEGMENTATION(weights=None, weights_backbone=None), "backbone.3", (1, 3, 50, 64)),
}


def assert_same(found, expected):
    for a, b in zip(tree_leaves(found), tree_leaves(expected), strict=True):
        assert torch.equal(a, b)


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


@pytest.mark.parametrize("kind", MODELS)
def test_the_halves_together_are_the_model(kind):
    build, at, shape = MODELS[kind]
    model, x = build().eval(), torch.rand(shape)
    split = ip.split.SplitModel(model, at=at)
    features = split.edge(x)
    before = features.clone()
    assert_same(split.cloud(features), model(x))
    assert_same(split.cloud(features), model(x))
    assert torch.equal(features, before)


def test_a_detection_model_is_split_in_front_of_its_pyramid():
    model = DETECTION(weights=None, weights_backbone=None, num_classes=3).eval()
    images = [torch.rand(3, 40, 64), torch.rand(3, 64, 50)]
    split = ip.split.SplitModel(model, at="backbone.features.0.3")
    found = split.cloud(split.edge(images))
    assert len(found) == 2
    assert_same(found, model(images))


def test_another_batch_size_needs_no_word():
    model = Skip().eval()
    split = ip.split.SplitModel(model, at="join", example_inputs=torch.rand(1, 3, 16, 16))
    x = torch.rand(5, 3, 16, 16)
    assert split.cloud(torch.rand(7, 8, 8, 8))["disparity"].shape == (7, 1, 16, 16)
    assert_same(split(x), model(x))


@pytest.mark.parametrize(
    ("at", "producer", "consumer"), [("inner", "'stem'", "model's own"), ("outer", "'stem'", "own")]
)
def test_a_layer_beside_a_shortcut_is_no_cut(at, producer, consumer):
    split = ip.split.SplitModel(Skip(), at=at)
    features = split.edge(torch.rand(1, 3, 16, 16))
    with pytest.raises(NotACut, match=f"{producer}.*{consumer}"):
        split.cloud(features)


def test_a_shortcut_written_in_place_is_no_cut():
    model = timm.create_model("resnet10t").eval()
    split = ip.split.SplitModel(model, at="layer2.0.conv1")
    features = split.edge(torch.rand(1, 3, 32, 32))
    with pytest.raises(NotACut, match=r"'layer1' gives out is needed as well, in 'layer2\.0'"):
        split.cloud(features)


def test_only_what_the_chosen_heads_need_has_to_be_behind_the_cut():
    model, x = Branches().eval(), torch.rand(1, 3, 8, 8)
    features = ip.split.SplitModel(model, at="features").edge(x)
    with pytest.raises(NotACut, match="does not depend on it but on the model's input"):
        ip.split.SplitModel(model, at="features", example_inputs=x).cloud(features)
    found = ip.split.SplitModel(model, at="features", heads=["mean"], example_inputs=x).cloud(features)
    assert_same(found, {"mean": model(x)["mean"]})
    renamed = ip.split.SplitModel(model, at="features", heads={"colour": "mean"}, example_inputs=x)
    assert list(renamed.cloud(features)) == ["colour"]


def test_the_model_is_left_as_it_was():
    model = Skip().train()
    split = ip.split.SplitModel(model, at="join")
    attributes = {name: set(module.__dict__) for name, module in model.named_modules()}
    split(torch.rand(2, 3, 16, 16))
    assert model.training
    assert all(module.training for module in model.modules())
    assert attributes == {name: set(module.__dict__) for name, module in model.named_modules()}
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_mistakes_are_one_sentence():
    model = Skip()
    with pytest.raises(UnknownName, match="did you mean 'join'"):
        ip.split.SplitModel(model, at="joint")
    with pytest.raises(ValueError, match="example_inputs"):
        ip.split.SplitModel(model, at="join").cloud(torch.rand(1, 8, 8, 8))
    split = ip.split.SplitModel(model, at="join", heads=["flow"])
    features = split.edge(torch.rand(1, 3, 16, 16))
    with pytest.raises(UnknownName, match="no output 'flow'; known: segmentation, disparity"):
        split.cloud(features)
    with pytest.raises(ValueError, match="features have shape"):
        split.cloud(features[:, :4])
    with pytest.raises(TypeError, match="features are a list; give the tensor that 'join' gives out"):
        split.cloud([features])
    with pytest.raises(TypeError, match="model is the text 'resnet18'"):
        ip.split.SplitModel("resnet18", at="layer1")
    pyramid = ip.split.SplitModel(nn.Sequential(nn.Identity(), nn.LSTM(4, 4)), at="1")
    with pytest.raises(NotACut, match="gives out tuple"):
        pyramid.edge(torch.rand(2, 3, 4))


RUN = """
import io, sys, torch
half, data = (io.BytesIO(open(path, "rb").read()) for path in sys.argv[1:3])
with torch.no_grad():
    torch.save(torch.export.load(half).module()(torch.load(data)), sys.argv[3])
assert "infoprune" not in sys.modules
"""


def test_exported_halves_run_in_separate_processes(tmp_path):
    """Each process sees a program and bytes, and knows nothing of this package."""
    model, x = Skip().eval(), torch.rand(1, 3, 16, 20)
    split = ip.split.SplitModel(model, at="join", heads=["disparity"])
    edge, cloud = split.export(x)
    assert len(edge.state_dict) == 6
    assert len(cloud.state_dict) == 2
    torch.export.save(edge, tmp_path / "edge.pt2")
    torch.export.save(cloud, tmp_path / "cloud.pt2")
    torch.save(x, tmp_path / "x.pt")
    for half, source, target in (("edge", "x", "features"), ("cloud", "features", "outputs")):
        files = [tmp_path / name for name in (f"{half}.pt2", f"{source}.pt", f"{target}.pt")]
        done = python("-c", RUN, *files)
        assert done.returncode == 0, done.stderr
    found = torch.load(io.BytesIO((tmp_path / "outputs.pt").read_bytes()))
    torch.testing.assert_close(found, {"disparity": model(x)["disparity"]}, rtol=0, atol=1e-6)


class Wide(nn.Module):
    """Its outputs depend on the picture's size through the features alone."""

    def __init__(self):
        super().__init__()
        self.stem, self.tail, self.head = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, padding=1), nn.Linear(8, 4)

    def forward(self, x):
        return self.head(self.tail(self.stem(x).relu()).relu().mean((2, 3)))


def test_axes_in_which_examples_differ_are_free_in_exported_halves():
    model = Wide().eval()
    edge, cloud = ip.split.SplitModel(model, at="stem").export(
        torch.rand(1, 3, 16, 16), also=[torch.rand(2, 3, 24, 32)]
    )
    for shape in ((1, 3, 16, 16), (5, 3, 40, 18), (3, 3, 17, 64)):
        x = torch.rand(shape)
        torch.testing.assert_close(cloud.module()(edge.module()(x)), model(x), rtol=0, atol=1e-5)


def test_a_batch_is_free_where_the_outputs_need_the_size_of_the_input():
    model, x = Skip().eval(), torch.rand(2, 3, 16, 20)
    edge, cloud = ip.split.SplitModel(model, at="join").export(x, also=[x[:1]])
    for batch in (1, 4):
        x = torch.rand(batch, 3, 16, 20)
        found, wanted = cloud.module()(edge.module()(x)), model(x)
        assert all(torch.allclose(found[task], wanted[task], atol=1e-5) for task in wanted)


def test_an_export_that_would_answer_other_sizes_wrongly_fails():
    """The cloud half resizes to the picture's size, which features of half that size do not tell."""
    split = ip.split.SplitModel(Skip().eval(), at="join")
    with pytest.raises(
        ExportFailed, match=r"cloud half is off by inf of the output.*needs the size of the model's inputs"
    ):
        split.export(torch.rand(2, 3, 16, 20), also=[torch.rand(2, 3, 24, 32)])


class Valued(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.tail = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)

    def forward(self, x):
        y = self.stem(x)
        return self.tail(y) if float(y.sum()) > 0 else y


def test_what_can_not_be_exported_is_one_sentence():
    with pytest.raises(ExportFailed, match=r"torch\.export can't follow the (edge|cloud) half"):
        ip.split.SplitModel(Valued(), at="stem").export(torch.rand(1, 3, 4, 4))


def test_an_export_that_gives_nan_is_compared_with_nothing_and_refused():
    model = Wide().eval()
    nn.init.constant_(model.head.bias, float("nan"))
    with pytest.raises(ExportFailed, match=r"cloud half is off by nan .* or gives NaN"):
        ip.split.SplitModel(model, at="stem").export(torch.rand(1, 3, 16, 16))


def test_many_sizes_are_not_remembered_for_ever(monkeypatch):
    from infoprune.split import copies

    monkeypatch.setattr(copies, "REMEMBERED", 4)
    model = Wide().eval()
    split = ip.split.SplitModel(model, at="stem")
    for side in (*range(8, 40, 2), 8):
        x = torch.rand(1, 3, side, side)
        assert_same(split(x), model(x))
    (copy,) = split.cloud.copies.idle
    assert max(map(len, (split.cloud.inputs, copy.points, copy.checked))) <= 4
