"""What `export` writes computes what the model computes, or is not written."""

import copy
import json
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import timm
import torch
from torch import nn

import infoprune as ip
from infoprune.errors import ExportFailed, MissingExtra
from infoprune.export import onnx_files
from infoprune.export.formats import FORMATS
from tests.small_nets import FixedBatch, Residual, image, make

X = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def small_net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 12, 3, 2), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(12, 5),
    )  # fmt: skip


def pruned(model, x, keep=0.5):
    plan = ip.plan(model, x, ip.importance.CapacityIndependenceImportance(), budgets=[ip.budgets.macs(keep=keep)])
    return ip.prune_(model, x, plan)


def ran(path, *inputs):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]
    return session.run(None, {name: x.numpy() for name, x in zip(names, inputs, strict=True)})


def test_onnx_runtime_gives_the_pruned_network_s_outputs_at_any_batch(tmp_path):
    model = pruned(small_net(), X).eval()
    told = ip.export(model, X, tmp_path / "m.onnx")
    for size in (1, 4):
        x = torch.randn(size, 3, 32, 32)
        np.testing.assert_allclose(ran(told.path, x)[0], model(x).detach().numpy(), atol=1e-5)
    assert set(told.differences) == {1, 3}
    assert max(told.differences.values()) < 1e-5


class Windows(nn.Module):
    """Attention within windows: five axes go into it."""

    def __init__(self):
        super().__init__()
        self.embed, self.qkv, self.head = nn.Conv2d(3, 8, 4, 4), nn.Linear(8, 24), nn.Linear(8, 5)

    def forward(self, x):
        x = self.embed(x).flatten(2).mT.unflatten(1, (4, 16))  # four windows of sixteen places
        q, k, v = self.qkv(x).unflatten(-1, (3, 2, 4)).permute(3, 0, 1, 4, 2, 5).unbind(0)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v).transpose(2, 3).flatten(-2)
        return self.head(mixed.mean((1, 2)))


def test_attention_within_windows_is_exported(tmp_path):
    torch.manual_seed(0)
    model = Windows().eval()
    told = ip.export(model, X, tmp_path / "m.onnx")
    x = torch.randn(4, 3, 32, 32)
    np.testing.assert_allclose(ran(told.path, x)[0], model(x).detach().numpy(), atol=1e-5)


def test_opset_and_free_axis_are_recorded_in_the_file(tmp_path):
    told = ip.export(small_net(), X, tmp_path / "m.onnx", opset=18)
    written = onnx.load(told.path)
    record = json.loads({p.key: p.value for p in written.metadata_props}["infoprune.export"])
    assert written.opset_import[0].version == told.opset == record["opset"] == 18
    assert written.graph.input[0].type.tensor_type.shape.dim[0].dim_param == record["batch"] == "batch"
    onnx.checker.check_model(written)


def test_a_torch_program_gives_the_outputs_too(tmp_path):
    model = pruned(small_net(), X).eval()
    told = ip.export(model, X, tmp_path / "m.pt2")
    again = torch.export.load(told.path).module()
    x = torch.randn(5, 3, 32, 32)
    torch.testing.assert_close(again(x), model(x), rtol=0, atol=1e-6)  # the same kernels, in the same order
    assert told.opset is None


def test_the_model_stays_as_it_was(tmp_path):
    model = small_net().train()
    before = copy.deepcopy(model.state_dict())
    ip.export(model, X, tmp_path / "m.pt2")
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.line = nn.Embedding(7, 4), nn.Linear(4, 3)

    def forward(self, words, weights):
        return {"scores": self.line((self.words(words) * weights[..., None]).sum(1)), "weights": weights.sum(1)}


def test_integers_and_dictionaries_are_exported(tmp_path):
    model = TwoInputs()
    words, weights = torch.tensor([[1, 6, 0]]), torch.rand(1, 3)
    told = ip.export(model, (words, weights), tmp_path / "m.onnx")
    ours, theirs = model(words, weights), ran(told.path, words, weights)
    np.testing.assert_allclose(theirs[0], ours["scores"].detach().numpy(), atol=1e-6)
    np.testing.assert_allclose(theirs[1], ours["weights"].numpy(), atol=1e-6)


def test_a_batch_that_the_model_fixes_is_told(tmp_path):
    told = ip.export(FixedBatch(), torch.randn(2, 6), tmp_path / "m.onnx")
    assert told.batch is None
    assert "fixed batch" in str(told)
    assert list(told.differences) == [2]


def test_zeros_are_said_to_compare_nothing(tmp_path):
    model = small_net()
    nn.init.zeros_(model[-1].weight)
    nn.init.zeros_(model[-1].bias)
    told = ip.export(model, X, tmp_path / "m.onnx")
    assert told.scale == 0
    assert "nothing was compared" in str(told)


class DependsOnValues(nn.Module):
    def forward(self, x):
        return x * 2 if x.sum() > 0 else x


def test_what_cannot_be_followed_is_refused_and_the_old_file_stays(tmp_path):
    target = tmp_path / "m.onnx"
    target.write_text("old")
    with pytest.raises(ExportFailed, match="DependsOnValues"):
        ip.export(DependsOnValues(), torch.randn(2, 3), target)
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]


def test_a_translation_that_computes_something_else_is_not_kept(tmp_path, monkeypatch):
    honest = FORMATS[".onnx"]
    off = replace(honest, run=lambda path: lambda x: [t * 1.001 for t in honest.run(path)(x)])
    monkeypatch.setitem(FORMATS, ".onnx", off)
    with pytest.raises(ExportFailed, match=r"1\.0e-03 of the largest output at batch 1"):
        ip.export(small_net(), X, tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [("m.pb", {}, r"ends in '\.pb'"), ("m.pt2", {"opset": 18}, "opset is 18")],
)
def test_bad_arguments_are_told(tmp_path, name, options, message):
    with pytest.raises(ValueError, match=message):
        ip.export(small_net(), X, tmp_path / name, **options)


def test_missing_packages_are_named_with_their_extra(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_files, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"infoprune\[export\]"):
        ip.export(small_net(), X, tmp_path / "m.onnx")


FAMILIES = ("resnet18", "mobilenetv2_100", "densenet121", "convnext_atto", "deit_tiny_patch16_224")


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_pruned_members_of_families_export(tmp_path, name):
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=10).eval()
    x = torch.randn(1, 3, 224, 224)
    told = ip.export(pruned(model, x), x, tmp_path / "m.onnx")
    assert told.batch == "batch"


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 3, "num_heads": 4},
        {},
    ],
    ids=["tiny", "deit_tiny"],
)
def test_networks_that_drop_tokens_export(tmp_path, options):
    torch.manual_seed(0)
    model = timm.create_model("deit_tiny_patch16_224", num_classes=10, **options).eval()
    side = options.get("img_size", 224)
    ip.tokens.sparsify_(model, schedule={1: 0.5, 2: 0.7})
    told = ip.export(model, torch.randn(1, 3, side, side), tmp_path / "m.onnx")
    for size in (1, 8):
        x = torch.randn(size, 3, side, side)
        ours, theirs = model(x).detach().numpy(), ran(told.path, x)[0]
        np.testing.assert_allclose(theirs, ours, atol=1e-4 * abs(ours).max())


def test_another_opset_than_was_asked_for_is_not_written(tmp_path):
    with pytest.raises(ExportFailed, match="opset 9999 was asked for and the exporter could write the model as opset"):
        ip.export(make(Residual), image(), tmp_path / "a.onnx", opset=9999)
    assert list(tmp_path.iterdir()) == []
