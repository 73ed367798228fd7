"""An int8 file answers as its network does, up to 8 bits, and says how far; what can't be made leaves nothing."""

import copy
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnxruntime import InferenceSession
from torch import nn

import infoprune as ip
from infoprune.errors import ExportFailed, MissingExtra, UnusableData
from infoprune.export import exporting, onnx_files, openvino_files, quantisers
from infoprune.export.formats import FORMATS, Format
from infoprune.export.int8 import Compared
from infoprune.export.programs import write_program
from infoprune.export.runtimes import torch_runtime
from tests.small_nets import FixedBatch

# A value spread over a range of r has a variance of r^2 / 12, and rounded to 255 steps an error of (r / 255)^2 / 12:
# 1.5e-5 of it, or 6e-5 in the 127 steps of weights. Values crowd in the middle of their range, which costs ten times
# as much; about ten tensors are rounded here, and none outweighs the others. Twice that, as pictures leave the ranges.
EIGHT_BITS = 2 * 10 * 10 * 1.5e-5


def small_net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 32, 3, 2), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(32, 5),
    )  # fmt: skip


def pictures(count, seed, size=32):
    """Of different colours, so that outputs differ, in a range that few of them fill already."""
    draw = torch.Generator().manual_seed(seed)
    shades = 6 * torch.rand(count, 3, 1, 1, generator=draw) - 3
    return shades + torch.rand(count, 3, size, size, generator=draw)


X = pictures(1, 0)
LOADER = [(part, torch.zeros(len(part))) for part in pictures(64, 1).split(16)]


def over_variance(ours, theirs):
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    return ((ours - theirs) ** 2).mean() / ours.var()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A network as it was before, what was told, and the network itself."""
    model = small_net().train()
    before = copy.deepcopy(model)
    told = ip.export(model, X, tmp_path_factory.mktemp("int8") / "m.onnx", int8=LOADER)
    return before, told, model


def test_an_int8_file_answers_as_its_network_on_other_pictures(written):
    model, told, _ = written
    session = InferenceSession(told.path, providers=["CPUExecutionProvider"])
    others = pictures(200, 2)
    answers = session.run(None, {session.get_inputs()[0].name: others.numpy()})[0]
    ours = model.eval()(others).detach().numpy()
    assert over_variance(ours, answers) < EIGHT_BITS
    assert over_variance(ours, answers) > 1e-7  # single precision would be at 1e-12: these are other numbers
    assert (ours.argmax(1) == answers.argmax(1)).mean() > 0.95


def test_what_is_told_of_an_int8_file_holds_for_pictures_that_gave_it_no_ranges(written):
    told = written[1].int8
    assert (told.ranges_from, told.compared_on) == (28, 36)
    assert 0 < told.error < EIGHT_BITS
    assert told.agreement >= 34 / 36
    assert told.latency.rounds >= 31
    assert told.bytes == written[1].path.stat().st_size
    assert f"of 36 others {told.agreement:.1%} keep their largest score" in str(written[1])
    assert "before int8 it differs by" in str(written[1])


def test_weights_of_an_int8_file_are_bytes_and_its_record_says_so(written):
    model = onnx.load(written[1].path)
    kinds = {t.data_type for t in model.graph.initializer if len(t.dims) > 1}
    assert kinds == {onnx.TensorProto.INT8}
    record = json.loads({p.key: p.value for p in model.metadata_props}["infoprune.export"])
    assert record["int8"].startswith("onnxruntime")
    assert record["opset"] == written[1].opset


def test_the_network_that_is_quantised_stays_as_it_was(written):
    before, _, model = written
    assert model.training
    assert all(
        torch.equal(a, b) for a, b in zip(before.state_dict().values(), model.state_dict().values(), strict=True)
    )


def test_agreement_and_error_are_those_of_the_definition():
    draw = torch.Generator().manual_seed(0)
    ours, theirs = torch.randn(50, 7, generator=draw), torch.randn(50, 7, generator=draw)
    found = Compared()
    for a, b in zip(ours.split(16), theirs.split(16), strict=True):
        found.add([a, 3 * a], [b, 3 * a])
    assert found.error == pytest.approx(over_variance(ours, theirs), rel=1e-9)
    assert found.agreement == (ours.argmax(1) == theirs.argmax(1)).sum().item() / 50


def test_what_is_no_row_of_scores_has_an_error_and_no_agreement():
    found, maps = Compared(), torch.randn(4, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    found.add([maps], [maps + 1])
    assert found.agreement is None
    assert found.error == pytest.approx(1 / np.asarray(maps).var(), rel=1e-6)


def test_constant_outputs_are_off_by_nothing_or_without_bound():
    same, other = Compared(), Compared()
    same.add([torch.ones(4, 2)], [torch.ones(4, 2)])
    other.add([torch.ones(4, 2)], [torch.zeros(4, 2)])
    assert (same.error, other.error) == (0, float("inf"))


# ------------------------------------------------------------------------------------------------------ what fails


def quantising(monkeypatch, quantise):
    """Programs of torch, which are written fastest, made 8-bit by somebody."""
    how = Format("torch.export", write_program, torch_runtime, quantise=quantise)
    monkeypatch.setitem(FORMATS, ".pt2", how)


def test_answers_no_better_than_a_constant_are_not_kept(tmp_path, monkeypatch):
    def constant(source, target, batches):
        dim = torch.export.Dim("batch")
        model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 5))
        nn.init.zeros_(model[2].weight)
        torch.export.save(torch.export.export(model, (pictures(2, 0),), dynamic_shapes=({0: dim},)), target)

    quantising(monkeypatch, constant)
    with pytest.raises(ExportFailed, match=r"the int8 model is [0-9.]+ of the outputs' variance off"):
        ip.export(small_net(), X, tmp_path / "m.pt2", int8=LOADER)
    assert list(tmp_path.iterdir()) == []


def test_a_quantiser_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    def failing(source, target, batches):
        target.write_text("half")
        raise ExportFailed("no")

    quantising(monkeypatch, failing)
    (tmp_path / "m.pt2").write_text("old")
    with pytest.raises(ExportFailed, match="no"):
        ip.export(small_net(), X, tmp_path / "m.pt2", int8=LOADER)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"m.pt2": "old"}


def test_an_operation_that_the_quantiser_stumbles_over_is_one_sentence():
    message = r"NNCF can't quantise the model \(ValueError: broken\); leave int8 out"
    with pytest.raises(ExportFailed, match=message), quantisers.failing_as("NNCF"):
        raise ValueError("broken\nmore")


def test_a_batch_that_the_model_fixes_is_not_quantised(tmp_path):
    loader = [torch.randn(2, 6, generator=torch.Generator().manual_seed(i)) for i in range(8)]
    with pytest.raises(ExportFailed, match="int8 needs a free batch"):
        ip.export(FixedBatch(), torch.randn(2, 6), tmp_path / "m.onnx", int8=loader)
    assert list(tmp_path.iterdir()) == []


BAD = {
    "empty": ([], UnusableData, "the loader is empty; int8 needs at least 8"),
    "few": ([pictures(3, 0)], UnusableData, "the loader gave 3 samples; int8 needs at least 8"),
    "one picture": ([X.expand(16, -1, -1, -1)], UnusableData, "all 16 samples are the same one; int8 needs different"),
    "another size": (
        [pictures(16, 0, size=24)],
        UnusableData,
        "3x24x24 float32 a sample, and the model",
    ),
    "doubles": ([pictures(16, 0).double()], UnusableData, "3x32x32 float64 a sample, and the model is exported for"),
    "two inputs": ([((X, X), None)] * 9, UnusableData, "3x32x32 float32 and 3x32x32 float32 a sample"),
    "names": ([{"x": pictures(16, 0)}], UnusableData, "the loader gives nothing a sample"),
    "no loader": (True, TypeError, "int8 is True; give the loader of samples that ranges are taken from"),
    "no tensors": ([3, 4], UnusableData, "a batch is int without tensors"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_loader_that_can_give_no_ranges_is_told_before_the_work(what, tmp_path, monkeypatch):
    loader, error, message = BAD[what]
    monkeypatch.setattr(exporting, "program_of", lambda *_: pytest.fail("the work began"))
    with pytest.raises(error, match=re.escape(message)):
        ip.export(small_net(), X, tmp_path / "m.onnx", int8=loader)
    assert list(tmp_path.iterdir()) == []


def test_a_form_that_nobody_quantises_is_told(tmp_path):
    with pytest.raises(ValueError, match=r"m\.pt2 is not quantised here; end the path in \.onnx or \.xml"):
        ip.export(small_net(), X, tmp_path / "m.pt2", int8=LOADER)


@pytest.mark.parametrize(
    ("missing", "message"),
    [("onnxruntime", r"needs onnxruntime; install infoprune\[export\]"), ("openvino", r"infoprune\[openvino\]"),
     ("nncf", r"int8 in \.xml needs nncf; install infoprune\[nncf\], or end the path in \.onnx")],
)  # fmt: skip
def test_an_absent_runtime_is_named_with_its_extra(missing, message, tmp_path, monkeypatch):
    for module in (onnx_files, openvino_files, quantisers):
        monkeypatch.setattr(module, "find_spec", lambda name: None if name == missing else name)
    with pytest.raises(MissingExtra, match=message):
        ip.export(small_net(), X, tmp_path / "m.xml", int8=LOADER)


def test_of_two_files_the_named_one_is_never_there_without_the_other(tmp_path, monkeypatch):
    """The system fails at every step of putting two files in place."""

    def write(program, draft, batch, opset):
        write_program(program, draft, batch, opset)
        draft.with_suffix(".bin").write_text("new")

    monkeypatch.setitem(FORMATS, ".pt2", replace(FORMATS[".pt2"], write=write))
    target = tmp_path / "m.pt2"
    for step in range(3):
        target.write_text("old")
        target.with_suffix(".bin").write_text("old")
        steps = iter(range(9))
        real = Path.replace

        def fail(self, to, step=step, steps=steps, real=real):
            if next(steps) == step:
                raise OSError("no")
            return real(self, to)

        monkeypatch.setattr(Path, "replace", fail)
        if step < 2:
            with pytest.raises(OSError, match="no"):
                ip.export(small_net(), X, target)
            assert not target.exists()
        else:
            ip.export(small_net(), X, target)
            assert target.with_suffix(".bin").read_text() == "new"
        monkeypatch.setattr(Path, "replace", real)
        assert not [path for path in tmp_path.iterdir() if "partial" in path.name]


# ----------------------------------------------------------------------------------------------------- OpenVINO

ALONE = """
import sys, torch, numpy as np
sys.path.insert(0, {root!r})
import infoprune as ip
from tests.test_export_int8 import X, over_variance, pictures, small_net
torch.set_num_threads(1)
model = small_net().eval()
told = ip.export(model, X, {path!r}, int8=[pictures(64, 1)])
plain = ip.export(model, X, {path!r}.replace("m.xml", "plain.xml"))
import openvino
others = pictures(200, 2)
found = [openvino.Core().compile_model(str(one.path), "CPU", {{"INFERENCE_PRECISION_HINT": "f32"}})(others.numpy())[0]
         for one in (told, plain)]
ours = model(others).detach().numpy()
print(*(over_variance(ours, each) for each in found), told.int8.error, told.int8.bytes, told.int8.bytes_float32)
"""


@pytest.mark.slow  # importing nncf alone takes long
@pytest.mark.skipif(not (find_spec("nncf") and find_spec("openvino")), reason="nncf or openvino is not installed")
def test_nncf_makes_openvino_files_that_answer_alike_and_nobody_is_told(tmp_path):
    """In a home of its own, where OpenVINO's reporter would leave its number."""
    home, out = tmp_path / "home", tmp_path / "out"
    home.mkdir()
    root = Path(__file__).parent.parent
    script = ALONE.format(path=str(out / "m.xml"), root=str(root))
    ran = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
    )
    int8, plain, told, small, whole = map(float, ran.stdout.split())
    assert plain < 1e-10
    assert 1e-7 < int8 < EIGHT_BITS
    assert 0 < told < EIGHT_BITS
    assert small == sum((out / name).stat().st_size for name in ("m.xml", "m.bin"))
    plain_size = sum((out / name).stat().st_size for name in ("plain.xml", "plain.bin"))
    assert whole == pytest.approx(plain_size, rel=0.01)  # names of operations are numbered anew
    assert {path.name for path in out.iterdir()} == {"m.xml", "m.bin", "plain.xml", "plain.bin"}
    assert [path for path in home.rglob("*") if path.is_file()] == []
