"""The verbs that need data, on one run that does much at once: blocks and channels, an ONNX file, TensorBoard."""

import json
import shutil
import subprocess
import sys

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

import infoprune as ip
from infoprune.cli import main
from infoprune.errors import MissingExtra
from infoprune.recipe.tensorboard import Board

VERBS = (
    *("run", "finetune", "compensate", "observe", "completion", "report", "bench"),
    *("export", "plan", "prune", "sensitivity", "show", "doctor", "list"),
)
RECIPE = {
    "schema": 1,
    "model": {"name": "resnet20_cifar"},
    "data": {"name": "tensors", "batch": 16, "calibration": 16},
    "importance": {"name": "independence"},
    "depth": {"joint": True, "samples": 16},
    "budget": {"macs": 0.25, "floor": 0.6},  # narrow layers alone do not reach it
    "finetune": {"epochs": 1, "reestimate": 16},
    "export": {"format": "onnx", "int8": True},
    "report": {"latency": False, "baseline_epochs": 0, "tensorboard": True},
}


def data_file(folder):
    path, labels = folder / "data.safetensors", torch.arange(32) % 4
    images = torch.randn(32, 3, 16, 16, generator=torch.Generator().manual_seed(0)) + labels[:, None, None, None]
    halves = {"train_images": images, "held_out_images": images.clone()}
    save_file({**halves, "train_labels": labels, "held_out_labels": labels.clone()}, path)
    return path


def recipe_file(folder, **changes):
    told = {**RECIPE, **changes}
    told["data"] = {**told["data"], "root": str(data_file(folder))}
    (folder / "small.yaml").write_text(yaml.safe_dump(told))
    return folder / "small.yaml"


def spoken(capsys, *arguments):
    code = main([str(a) for a in arguments])
    return code, *capsys.readouterr()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    assert main(["run", str(recipe_file(folder)), "--out", str(folder / "run")]) == 0
    return folder / "run"


def test_one_plan_cuts_blocks_and_channels(finished):
    told = json.loads((finished / "report.json").read_text())
    kinds = {edit["kind"] for edit in json.loads((finished / "cut-1" / "plan.json").read_text())["edits"]}
    assert told["blocks_removed"]
    assert {"drop_block", "keep_channels"} <= kinds
    assert {site["kind"] for site in told["sites"]} == {"channels"}
    assert told["after"]["macs"] <= 0.25 * told["before"]["macs"]


def test_the_onnx_file_computes_what_the_artefact_computes(finished):
    runtime = pytest.importorskip("onnxruntime")
    x = torch.randn(2, 3, 16, 16)
    session = runtime.InferenceSession(finished / "model.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), ip.load(finished / "artefact")(x), rtol=1e-3, atol=1e-4)


def test_int8_files_of_a_run_are_judged_as_its_networks_are(finished, capsys):
    runtime = pytest.importorskip("onnxruntime")
    held_out = load_file(finished.parent / "data.safetensors")
    rows = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    for phase, file in {"dense-int8": "dense-int8.onnx", "int8": "model-int8.onnx"}.items():
        session = runtime.InferenceSession(finished / file, providers=["CPUExecutionProvider"])
        (answers,) = session.run(None, {session.get_inputs()[0].name: held_out["held_out_images"].numpy()})
        right = (torch.from_numpy(answers).argmax(1) == held_out["held_out_labels"]).tolist()
        assert [row["accuracy"] for row in rows if row["phase"] == phase] == [sum(right) / len(right)]
    assert (finished / "model-int8.onnx").stat().st_size < (finished / "model.onnx").stat().st_size


def test_tensorboard_gets_what_metrics_get(finished):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    rows = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    events = EventAccumulator(str(finished / "tensorboard")).Reload()
    told = {row["step"]: row["loss"] for row in rows if row["phase"] == "cut-1" and "step" in row}
    assert {e.step: e.value for e in events.Scalars("cut-1/loss")} == pytest.approx(told)
    assert events.Scalars("cut-1/accuracy")


def test_a_missing_tensorboard_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingExtra, match=r"install infoprune\[tensorboard\]"):
        Board(tmp_path / "tensorboard", [])


def test_the_same_command_again_prints_the_same_report(finished, capsys):
    code, out, _ = spoken(capsys, "run", finished.parent / "small.yaml", "--out", finished, "--json")
    assert code == 0
    assert json.loads(out) == json.loads((finished / "report.json").read_text())


def test_finetune_trains_an_artefact_further(finished, capsys, tmp_path):
    root, out = finished.parent / "data.safetensors", tmp_path / "again"
    changes = [f"data.root={root}", "data.batch=16", "finetune.epochs=1", "finetune.reestimate=0"]
    sets = ["--data", "tensors", *(word for change in changes for word in ("--set", change))]
    code, told, _ = spoken(capsys, "finetune", finished / "artefact", *sets, "--out", out, "--json")
    assert code == 0
    told = json.loads(told)
    assert told["steps"] == 2
    before, after = ip.load(finished / "artefact"), ip.load(out)
    assert ip.measure(after, torch.zeros(1, 3, 16, 16)).macs == ip.measure(before, torch.zeros(1, 3, 16, 16)).macs
    assert any(not torch.equal(a, b) for a, b in zip(before.parameters(), after.parameters(), strict=True))


def test_observe_keeps_what_a_model_shows(finished, capsys, tmp_path):
    out = tmp_path / "seen.safetensors"
    changes = ["--set", f"data.root={finished.parent / 'data.safetensors'}", "--set", "data.batch=16"]
    code, told, _ = spoken(capsys, "observe", "resnet20_cifar", "--data", "tensors", *changes, "--out", out, "--json")
    assert (code, json.loads(told)["samples"]) == (0, 32)
    assert ip.Observations.load(out).samples == 32


def test_verbs_with_data_refuse_other_sections(capsys, tmp_path):
    words = ["observe", "resnet20_cifar", "--data", "digits", "--set", "budget.macs=1", "--out", tmp_path / "x"]
    code, out, err = spoken(capsys, *words)
    assert (code, out) == (2, "")
    assert "observe takes keys of data, model, seed" in err


def test_missing_data_say_what_is_needed_and_write_nothing(capsys, tmp_path):
    changes = {"data": {"name": "cifar10", "root": str(tmp_path / "nowhere")}}
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump({**RECIPE, **changes}))
    code, out, err = spoken(capsys, "run", path, "--out", tmp_path / "out")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "get it from" in err
    assert not (tmp_path / "out").exists()


def test_a_budget_that_no_plan_meets_is_exit_code_3(capsys, tmp_path):
    path = recipe_file(tmp_path, depth=None, budget={"macs": 1e-4}, finetune={"epochs": 0})
    code, out, err = spoken(capsys, "run", path, "--out", tmp_path / "out")
    assert (code, out) == (3, "")
    assert "budget not met" in err


@pytest.mark.parametrize("name", ["scenes-split", "cifar10-resnet20-itpruner"])
def test_a_dry_run_prices_without_data(capsys, tmp_path, monkeypatch, name):
    from tests.recipe.tiny import RECIPES

    monkeypatch.chdir(tmp_path)
    code, out, _ = spoken(capsys, "run", RECIPES / f"{name}.yaml", "--dry-run")
    assert code == 0
    assert "no data were read, nothing was written" in out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("verb", VERBS)
def test_help_has_an_example_for_every_verb(capsys, verb):
    with pytest.raises(SystemExit) as found:
        main([verb, "--help"])
    assert found.value.code == 0
    assert f"example: infoprune {verb}" in " ".join(capsys.readouterr().out.split())


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_completes_verbs_options_and_choices(capsys):
    code, script, _ = spoken(capsys, "completion")
    assert code == 0

    def completed(*words):
        line = f"COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; _infoprune; echo ${{COMPREPLY[@]}}"
        done = subprocess.run(["bash", "-c", f"{script}\n{line}"], capture_output=True, text=True, check=True)
        return done.stdout.split()

    assert completed("infoprune", "fine") == ["finetune"]
    assert completed("infoprune", "run", "--dry") == ["--dry-run"]
    assert "data" in completed("infoprune", "list", "da")
    assert set(completed("infoprune", '""')) == set(VERBS)
