"""report, bench and export: what the command does with what runs left behind."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

import infoprune as ip
from infoprune.cli import main
from infoprune.models import resnet20_cifar
from infoprune.report.model import Interval
from infoprune.report.page import page, write
from tests.report.report_example import EXAMPLE


@pytest.fixture
def runs(tmp_path):
    other = replace(EXAMPLE, name="poor", after=replace(EXAMPLE.after, accuracy=Interval(0.9, 0.88, 0.92)))
    write(EXAMPLE, tmp_path / "good")
    write(other, tmp_path / "poor")
    return tmp_path


def test_report_tells_a_run_in_short_and_draws_its_page(runs, capsys):
    (runs / "good" / "report.html").unlink()
    assert main(["report", str(runs / "good")]) == 0
    told = capsys.readouterr().out
    assert "97.50% (95.3% to 98.7%)" in told
    assert "no evidence of a gain over l2" in told
    assert (runs / "good" / "report.html").read_text() == page(EXAMPLE)


def test_bench_puts_runs_side_by_side(runs, capsys):
    out = runs / "both.html"
    assert main(["bench", str(runs / "good"), str(runs / "poor"), "--out", str(out), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["run"], row["beaten by"]) for row in rows] == [("quickstart", None), ("poor", "quickstart")]
    assert "Accuracy against MACs" in out.read_text()


def test_bench_speaks_to_people(runs, capsys):
    assert main(["bench", str(runs / "good"), str(runs / "poor"), "--out", str(runs / "both.html")]) == 0
    head, first, second, page_ = capsys.readouterr().out.splitlines()
    assert head.split() == [
        "run",
        "MACs",
        "MACs",
        "kept",
        "parameters",
        "latency",
        "speed",
        "accuracy",
        "dense",
        "beaten",
        "by",
    ]
    told = "quickstart 20,406,592 50.0% 140,002 2.60 ms 1.61 times 97.50% 98.10% -"
    assert " ".join(first.split()) == told
    assert second.endswith("quickstart")
    assert page_.startswith("page  ")


def test_a_directory_without_a_run_is_told(runs, capsys):
    assert main(["bench", str(runs / "nowhere")]) == 1
    assert "give the directory of a finished run" in capsys.readouterr().err
    assert not (runs / "comparison.html").exists()


def test_export_writes_what_the_artefact_computes(tmp_path, capsys):
    torch.manual_seed(0)
    model, x = resnet20_cifar().eval(), torch.randn(1, 3, 32, 32)
    plan = ip.plan(model, x, ip.importance.CapacityImportance(), budgets=[ip.budgets.macs(keep=0.5)])
    ip.save(tmp_path / "run" / "artefact", ip.prune_(model, x, plan), plan)
    assert main(["export", str(tmp_path / "run"), str(tmp_path / "small.pt2")]) == 0
    assert "torch.export, free batch" in capsys.readouterr().out
    again = torch.export.load(tmp_path / "small.pt2").module()
    torch.testing.assert_close(again(x), model.eval()(x), rtol=0, atol=1e-6)  # the same kernels in the same order


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """An artefact, and pictures of its size."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("kept")
    model, x = resnet20_cifar().eval(), torch.randn(1, 3, 16, 16)
    plan = ip.plan(model, x, ip.importance.CapacityImportance(), budgets=[ip.budgets.macs(keep=0.5)])
    ip.save(folder / "artefact", ip.prune_(model, x, plan), plan)
    for size in (16, 24):
        images, labels = torch.randn(32, 3, size, size), torch.arange(32) % 10
        tensors = {f"{half}_{what}": t.clone() for half in ("train", "held_out") for what, t in
                   (("images", images), ("labels", labels))}  # fmt: skip
        save_file(tensors, folder / f"pictures{size}.safetensors")
    return folder


def pictures_of(folder, size):
    return ["--data", "tensors", "--set", f"data.root={folder / f'pictures{size}.safetensors'}"]


@pytest.mark.slow
def test_export_in_8_bits_tells_how_the_file_answers(kept, tmp_path, capsys):
    out = tmp_path / "small.onnx"
    assert main(["export", str(kept / "artefact"), str(out), "--int8", *pictures_of(kept, 16), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["int8"]["ranges_from"] + told["int8"]["compared_on"] == 32
    assert told["int8"]["bytes"] == out.stat().st_size < told["int8"]["bytes_float32"]
    assert 0 < told["int8"]["error"] < 1
    assert told["int8"]["latency"]["ratio"] > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (lambda folder: ["--int8"], "--int8 takes ranges from pictures; add --data"),
        (lambda folder: pictures_of(folder, 16), "--data is for the ranges of --int8"),
        (
            lambda folder: ["--int8", *pictures_of(folder, 24)],
            "3x24x24 float32 a sample, and the model is exported for",
        ),
    ],
    ids=["no pictures", "no int8", "another size"],
)
def test_ranges_that_can_not_be_had_are_one_sentence(words, message, kept, tmp_path, capsys):
    assert main(["export", str(kept / "artefact"), str(tmp_path / "x.onnx"), *words(kept)]) in (1, 2)
    told = capsys.readouterr()
    assert message in told.err
    assert told.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
