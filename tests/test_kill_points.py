"""What every verb writes is the old, the new or absent, wherever it is killed; and it goes on after a full disk."""

import random
import shutil
import sys
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module
from io import StringIO
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import infoprune as ip
from infoprune import files
from infoprune.cli import main
from infoprune.models import resnet20_cifar
from tests.fresh import python
from tests.kill_points import draws, fails_when_full, writes_before

latency, entrance = (import_module(f"infoprune.{name}") for name in ("budgets.latency", "cli.main"))
SLOW = {"latency": 60, "export": 30, "observe": 80, "finetune": 30}  # kills


def spoken(*words):
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        return main([str(word) for word in words])


def killed(work, check, kills, fresh=lambda: None):
    """Killed at `kills` steps, each time from what the last one left unless it is `fresh`; then once to the end."""
    steps, made = writes_before(work), 0
    for seed in range(kills):
        for step in draws(min(kills - made, steps), steps, seed) if made < kills else ():
            fresh()
            made += writes_before(work, step) < 0
            check()
    assert made >= kills
    assert writes_before(work) >= 0
    return steps


@pytest.fixture
def artefact(tmp_path):
    torch.manual_seed(0)
    model, x = resnet20_cifar(num_classes=4).eval(), torch.zeros(1, 3, 16, 16)
    plan = ip.plan(model, x, ip.importance.CapacityImportance(), budgets=[ip.budgets.macs(keep=0.3)])
    ip.save(tmp_path / "a", ip.prune_(model, x, plan), plan)
    labels = torch.arange(32) % 4
    images = torch.randn(32, 3, 16, 16, generator=torch.Generator().manual_seed(0)) + labels[:, None, None, None]
    halves = {"train_images": images, "held_out_images": images.clone()}
    save_file({**halves, "train_labels": labels, "held_out_labels": labels.clone()}, tmp_path / "d.safetensors")
    return tmp_path


def latency_cache(tmp_path, monkeypatch, kills):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    measured = [1.0, 2.0, 3.0, 4.0]

    def work():
        return [latency._cached(["layer", i], torch.device("cpu"), lambda: measured) for i in range(3)]

    def check():
        entries = latency.cache_directory().glob("[!.]*.json")
        assert all(latency._read(path) == measured for path in entries)

    killed(work, check, kills, fresh=lambda: shutil.rmtree(latency.cache_directory(), ignore_errors=True))
    assert len(list(latency.cache_directory().glob("[!.]*.json"))) == 3


def export_of(artefact, kills):
    out, x = artefact / "small.pt2", torch.randn(2, 3, 16, 16)
    model = ip.load(artefact / "a")
    ip.export(model, x[:1], out)
    expected = model(x)

    def check():
        torch.testing.assert_close(torch.export.load(out).module()(x), expected, rtol=0, atol=1e-5)

    killed(lambda: ip.export(model, x[:1], out), check, kills)
    assert sorted(p.name for p in artefact.iterdir()) == ["a", "d.safetensors", "small.pt2"]


def observations(tmp_path, kills):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    out, batches = tmp_path / "seen.safetensors", [torch.randn(8, 3) for _ in range(2)]

    def check():
        assert not out.exists() or ip.Observations.load(out).samples == 16

    killed(lambda: ip.observe(model, batches, progress=False).save(out), check, kills)
    assert [p.name for p in tmp_path.iterdir()] == ["seen.safetensors"]


def finetuned(artefact, kills):
    changes = [f"data.root={artefact / 'd.safetensors'}", "data.batch=16", "finetune.epochs=2", "finetune.reestimate=0"]
    changes += ["finetune.save_seconds=0"]
    words = ["finetune", artefact / "a", "--data", "tensors", *(w for change in changes for w in ("--set", change))]

    def work(place):
        assert spoken(*words, "--out", place) == 0

    steps, made = writes_before(lambda: work(artefact / "whole")), 0
    whole = load_file(artefact / "whole" / "model.safetensors")

    def right(place):
        found = load_file(place / "model.safetensors")
        assert all(torch.equal(found[name], value) for name, value in whole.items())
        assert ip.load(place)

    for seed in range(kills):
        place, draw = artefact / f"out-{seed}", random.Random(seed)
        while made < kills and writes_before(lambda place=place: work(place), draw.randrange(steps)) < 0:
            made += 1
            if (place / "config.json").is_file():
                right(place)
        work(place)
        right(place)
        if made >= kills:
            return


def in_a_process_of_its_own(artefact, kills):
    """Autograd, once its threads have run, as exporters let them, can't go on in forked children."""
    done = python("-m", "tests.test_kill_points", artefact, kills, cwd=Path(__file__).parents[1])
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.alone
def test_kill_points_of_what_verbs_write(artefact, tmp_path_factory, monkeypatch):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    latency_cache(elsewhere / "cache", monkeypatch, kills=3)
    (elsewhere / "seen").mkdir()
    observations(elsewhere / "seen", kills=2)
    in_a_process_of_its_own(artefact, kills=1)


@pytest.mark.slow
@pytest.mark.parametrize("verb", SLOW)
@pytest.mark.alone
def test_two_hundred_kill_points_of_what_verbs_write(artefact, tmp_path_factory, monkeypatch, verb):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    if verb == "latency":
        latency_cache(elsewhere, monkeypatch, SLOW[verb])
    elif verb == "export":
        export_of(artefact, SLOW[verb])
    elif verb == "observe":
        observations(elsewhere, SLOW[verb])
    else:
        in_a_process_of_its_own(artefact, SLOW[verb])


# ----------------------------------------------------------------------------------------------------- a full disk


def test_tensors_that_find_no_room_are_an_error_of_the_system_as_text_is(tmp_path):
    def written():
        (tmp_path / "first").touch()  # a step, which compiled code that writes is not
        files.write_tensors(tmp_path / "a", {"a": torch.zeros(1000)})

    assert fails_when_full(written, 0, room=100)
    assert not fails_when_full(written, 0, room=10_000)


def test_a_full_cache_does_not_cost_the_measurement(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(latency.os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    assert latency._cached(["layer", 1], torch.device("cpu"), lambda: [1.0]) == [1.0]
    assert "No space left on device" in caplog.text
    assert list(latency.cache_directory().iterdir()) == []


def test_finetune_goes_on_after_a_full_disk(artefact, monkeypatch, capsys):
    changes = [
        "--set",
        f"data.root={artefact / 'd.safetensors'}",
        "--set",
        "data.batch=16",
        "--set",
        "finetune.epochs=1",
    ]
    words = ["finetune", artefact / "a", "--data", "tensors", *changes, "--out", artefact / "b"]
    with monkeypatch.context() as full:
        full.setattr(files, "sync", lambda path: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        assert main([str(word) for word in words]) == 1
        assert "No space left on device" in capsys.readouterr().err
    assert not (artefact / "b").exists()
    assert main([str(word) for word in words]) == 0
    assert ip.load(artefact / "b")


def test_what_was_found_is_printed_when_it_cannot_be_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["resnet20_cifar", "--input", "1x3x16x16", "--macs", "0.5"]
    full = OSError(28, "No space left on device")
    for verb, out in (("plan", "p.json"), ("prune", "a")):
        with monkeypatch.context() as patched:
            patched.setattr("infoprune.cli.commands.write_atomically", lambda *_: (_ for _ in ()).throw(full))
            patched.setattr("infoprune.cli.commands.save", lambda *_: (_ for _ in ()).throw(full))
            assert main([verb, *words, "--out", out]) == 1
        told = capsys.readouterr()
        assert "50.00% remain" in told.out or "49." in told.out
        assert "No space left on device; what was found is above, nothing was written" in told.err


SMALLER, DATA = ["resnet18", "--macs", "0.5"], ["--data", "digits"]
UNWRITABLE = {
    "run": ["r.yaml"], "plan": SMALLER, "prune": SMALLER, "sensitivity": ["resnet18", *DATA],
    "observe": ["resnet18", *DATA], "finetune": ["a", *DATA], "bench": ["runs"], "report": ["runs"],
}  # fmt: skip


@pytest.mark.parametrize("verb", UNWRITABLE)
def test_an_unwritable_out_is_told_before_anything_is_loaded(verb, capsys, monkeypatch):
    monkeypatch.setattr(entrance, "_loaded", lambda _: pytest.fail("the verb began"))
    assert main([verb, *UNWRITABLE[verb], "--out", "/proc/nothing/there"]) == 1
    assert "cannot be written" in capsys.readouterr().err


def test_so_is_one_that_is_of_the_wrong_kind_or_not_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(entrance, "_loaded", lambda _: pytest.fail("the verb began"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("x")
    (tmp_path / "runs").write_text("x")
    for words in (
        ["prune", "resnet18", "--macs", "0.5", "--out", "file"], ["plan", "resnet18", "--macs", "0.5", "--out", "."],
        ["run", "r.yaml"], ["export", "a", "/proc/x.onnx"],
    ):  # fmt: skip
        assert main(words) == 1
        assert "cannot be written" in capsys.readouterr().err


if __name__ == "__main__":
    finetuned(Path(sys.argv[1]), int(sys.argv[2]))
