"""run(): killed anywhere it goes on to the same artefact; workers agree; nothing foreign is overwritten."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import save_file
from tests.kill_points import fails_when_full, writes_before

from infoprune.cli import main
from infoprune.data import First, datasets
from infoprune.errors import BadRecipe, Infeasible, InfopruneError, Interrupted
from infoprune.files import held
from infoprune.finetune import loop
from infoprune.graph import Graph
from infoprune.importance import CapacityIndependenceImportance
from infoprune.layerwise import curves
from infoprune.processes import Processes
from infoprune.recipe import build_network, recipe_of, run, running, to_yaml
from infoprune.recipe.basis import Basis
from infoprune.recipe.cuts import cuts_of, tries
from infoprune.recipe.display import Wish
from infoprune.recipe.recovery import check_pictures
from infoprune.report.model import Report
from infoprune.surgery import Plan

SMALL, NINE = {"name": "resnet8_cifar"}, {"name": "resnet20_cifar"}  # of three and of nine units


def data_file(root):
    path = root / "data.safetensors"
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(48) % 4
    images = torch.randn(48, 3, 16, 16, generator=generator) + labels[:, None, None, None]
    halves = {"train_images": images, "held_out_images": images.clone()}
    save_file({**halves, "train_labels": labels, "held_out_labels": labels.clone()}, path)
    return path


def recipe(root, **sections):
    told = {
        "schema": 1,
        "model": {"name": "resnet20_cifar", "train_epochs": 1, "train_lr": 0.05},
        "data": {"name": "tensors", "root": str(data_file(root)), "batch": 16, "calibration": 32},
        "depth": {"stages": 2, "keep_units": 5, "samples": 32},
        "importance": {"name": "independence"},
        "layer_importance": {"name": "nhsic"},
        "budget": {"macs": 0.4},
        "finetune": {"epochs": 1, "reestimate": 16, "save_seconds": 0, "ema": 0.9},
        "report": {"latency": False, "baseline_epochs": 0},
    }
    return recipe_of({name: value for name, value in {**told, **sections}.items() if value is not None})


def weights(out):
    return (out / "artefact" / "model.safetensors").read_bytes(), (out / "artefact" / "config.json").read_bytes()


def decided(root, **sections):
    """What a recipe decides about the widths of a small network, and that network with its task."""
    told = {"model": SMALL, "depth": None, "importance": None, "layer_importance": None, **sections}
    return decide(recipe(root, **told))


def decide(made):
    """The decision of the only cut, the network and the task."""
    model, x, task = build_network(made.model.name, num_classes=4), torch.zeros(1, 3, 16, 16), task_of(made)
    (cut,) = cuts_of(made, model, x)
    return cut.decide(Basis(made, model, x, task)), model, task


def task_of(made):
    return datasets["tensors"](made.data.root)


def test_units_are_ranked_by_readers_too_unless_told(tmp_path):
    def kept(importance):
        layers = {"name": "uniform"}
        return decided(tmp_path, importance=importance, layer_importance=layers)[0].plan.to_json()

    named = {"name": "capacity_independence"}
    assert kept(None) == kept({**named, "sigma": 0.5, "readers": True}) != kept(named)


def test_layers_are_weighed_by_measured_curves_unless_told(tmp_path):
    made, model, task = decided(tmp_path, budget={"macs": 0.4, "utility": -2.0})
    ours = CapacityIndependenceImportance(sigma=0.5, readers=True)
    seen = First(task.train, 32, 16, 0)
    expected = curves(model, seen, ours, samples=32, utility=-2.0, progress=False)(
        Graph.trace(model, torch.zeros(1, 3, 16, 16))
    )
    assert {site.name: site.weight.value for site in made.sites} == pytest.approx(expected)
    assert all(site.weight is None for site in decided(tmp_path, budget={"rates": 0.5})[0].sites)


def test_blocks_and_channels_that_share_a_budget_weigh_layers_as_told(tmp_path):
    def planned(layers):
        joint = {"joint": True, "samples": 32}
        made = recipe(tmp_path, model=SMALL, depth=joint, budget={"macs": 0.4}, layer_importance=layers)
        return decide(made)[0].plan.to_json()

    assert planned(None) == planned({"name": "curves"}) != planned({"name": "uniform"})


def in_child(made, out):
    child = os.fork()
    if child == 0:
        try:
            run(made, out)
        finally:
            os._exit(0)
    return child


def killed(made, out, seconds):
    child = in_child(made, out)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def kill_and_go_on(tmp_path, seeds):
    made, started = recipe(tmp_path), time.perf_counter()
    os.waitpid(in_child(made, tmp_path / "whole"), 0)  # in a child as those that are killed, so that it takes as long
    length, cut_short = time.perf_counter() - started, 0
    report = Report.of_run(tmp_path / "whole")
    assert len(report.blocks_removed) == 4
    last = report.steps[-1]
    assert last.images == 48 * (1 + last.stage) > 48  # an epoch a stage, counted on
    for seed in seeds:
        out, draw = tmp_path / str(seed), random.Random(seed)
        for _ in range(2):
            cut_short += killed(made, out, draw.uniform(0, 0.6 * length))  # later runs are faster
        run(made, out)
        assert weights(out) == weights(tmp_path / "whole"), seed
        rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        steps = [(row["phase"], row["step"]) for row in rows if "step" in row]
        assert sorted(set(steps)) == sorted(steps)
    return cut_short


@pytest.mark.slow
@pytest.mark.alone
def test_a_killed_run_ends_with_the_same_artefact(tmp_path):
    assert kill_and_go_on(tmp_path, range(1)) > 0


@pytest.mark.slow
@pytest.mark.alone
def test_twenty_random_kill_points(tmp_path):
    assert kill_and_go_on(tmp_path, range(10, 30)) >= 20


def short(root):
    tuning = {"epochs": 1, "reestimate": 16, "save_seconds": 0}
    return recipe(root, depth=None, model=SMALL, finetune=tuning)


def killed_over_and_over(tmp_path, times):
    """Killed at a random step on the file system, gone on with and killed again, `times` times or more."""
    made, kills, round_ = short(tmp_path), 0, 0
    steps = writes_before(lambda: run(made, tmp_path / "whole"))
    while kills < times:
        draw, out, done = random.Random(round_), tmp_path / f"out-{round_}", False
        while not done:
            done = writes_before(lambda out=out: run(made, out), draw.randrange(steps)) >= 0
            kills += not done
        assert weights(out) == weights(tmp_path / "whole"), round_
        assert (out / "report.html").is_file()
        assert not list(out.rglob("*.partial*"))
        round_ += 1


@pytest.mark.alone
def test_a_run_goes_on_whatever_write_it_was_killed_in(tmp_path):
    killed_over_and_over(tmp_path, 1)


@pytest.mark.slow
@pytest.mark.alone
def test_a_run_goes_on_after_two_hundred_kills(tmp_path):
    killed_over_and_over(tmp_path, 200)


def full_over_and_over(tmp_path, times):
    """Out of room from a random step on, and gone on with once there is room, `times` times."""
    made = short(tmp_path)
    steps, failed = writes_before(lambda: run(made, tmp_path / "whole")), 0
    for seed in range(times):
        draw, out = random.Random(seed), tmp_path / f"out-{seed}"
        failed += fails_when_full(lambda out=out: run(made, out), draw.randrange(steps), draw.choice([0, 1000, 20_000]))
        assert not list(tmp_path.rglob("*.partial*")), seed
        assert writes_before(lambda out=out: run(made, out)) > 0
        assert weights(out) == weights(tmp_path / "whole"), seed
        assert (out / "report.html").is_file()
    assert failed > times // 2


@pytest.mark.alone
def test_a_run_that_met_a_full_disk_goes_on_once_there_is_room(tmp_path):
    full_over_and_over(tmp_path, 1)


@pytest.mark.slow
@pytest.mark.alone
def test_a_run_goes_on_after_forty_full_disks(tmp_path):
    full_over_and_over(tmp_path, 40)


def test_the_second_of_two_runs_is_told_who_holds_the_directory(tmp_path):
    with held(tmp_path / "out"), pytest.raises(InfopruneError, match=r"out is at work already \(process \d+ on"):
        run(short(tmp_path), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_directory_that_cannot_be_written_is_told_before_any_data_are_read(tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    (tmp_path / "r.yaml").write_text(to_yaml(recipe(tmp_path, data={"name": "cifar10", "root": "nowhere"})))
    assert main(["run", str(tmp_path / "r.yaml"), "--out", str(tmp_path / "file" / "out")]) == 1
    assert "cannot be written" in capsys.readouterr().err


def test_sigterm_stops_after_the_step_as_ctrl_c_does(tmp_path, monkeypatch):
    made, noted = short(tmp_path), running.Phases._note

    def terminate_at_the_second(self, phase, progress):
        if progress.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        noted(self, phase, progress)

    run(made, tmp_path / "whole")
    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patched:
        patched.setattr(running.Phases, "_note", terminate_at_the_second)
        patched.setattr(loop, "LEAST_STEPS", 1)
        with pytest.raises(Interrupted, match="stopped after step 2 of cut-1; the same command goes on"):
            run(made, tmp_path / "out")
    assert signal.getsignal(signal.SIGTERM) is before
    run(made, tmp_path / "out")
    assert weights(tmp_path / "out") == weights(tmp_path / "whole")


@pytest.mark.slow
def test_stopping_saves_and_says_how_to_go_on(tmp_path, monkeypatch):
    made = recipe(tmp_path, model={**SMALL, "train_epochs": 1}, depth=None)
    run(made, tmp_path / "whole")
    noted = running.Phases._note

    def stop_at_the_second(self, phase, progress):
        self.wish.stop = phase == "cut-1" and progress.step == 3
        noted(self, phase, progress)

    monkeypatch.setattr(running.Phases, "_note", stop_at_the_second)
    with pytest.raises(Interrupted, match="stopped after step 3 of cut-1; the same command goes on"):
        run(made, tmp_path / "out")
    monkeypatch.setattr(running.Phases, "_note", noted)
    run(made, tmp_path / "out")
    assert weights(tmp_path / "out") == weights(tmp_path / "whole")
    assert isinstance(Wish().stop, bool)


def test_a_directory_of_another_run_or_of_something_else_is_refused(tmp_path):
    made = recipe(tmp_path, depth=None, model=SMALL, finetune={"epochs": 0, "reestimate": 0})
    run(made, tmp_path / "out")
    other = recipe(tmp_path, depth=None, model=SMALL, finetune={"epochs": 0, "lr": 0.5})
    with pytest.raises(InfopruneError, match=r"finetune\.lr was 0\.05 and is 0\.5"):
        run(other, tmp_path / "out")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(InfopruneError, match="is not a run of ours"):
        run(made, tmp_path / "mine")
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


def test_a_budget_that_cannot_be_met_is_told(tmp_path):
    with pytest.raises(Infeasible, match="cheapest"):
        run(recipe(tmp_path, model=SMALL, depth=None, budget={"macs": 1e-4}, finetune={"epochs": 0}), tmp_path / "out")


def test_a_dry_run_reads_no_data_and_writes_nothing(tmp_path, monkeypatch, capsys):
    text = "schema: 1\nmodel: {name: resnet20_cifar}\ndata: {name: cifar10, root: nowhere}\nbudget: {macs: 0.5}\n"
    (tmp_path / "r.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    assert main(["run", "r.yaml", "--dry-run", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["macs"] == 40_551_040
    assert 0.49 < told["macs_after"] / told["macs"] <= 0.5
    assert [p.name for p in tmp_path.iterdir()] == ["r.yaml"]


def test_a_process_that_would_get_no_batch_is_told_before_the_work(tmp_path, monkeypatch):
    made = recipe(tmp_path)  # 48 pictures are three batches
    monkeypatch.setattr(Processes, "now", classmethod(lambda cls: cls(rank=0, world=4)))
    with pytest.raises(BadRecipe, match="gives every process 0 pictures to refit readers on, which needs 8"):
        check_pictures(made, task_of(made))


SHARED = """
import json, sys, torch
torch.set_num_threads(1)
from infoprune.recipe import read_recipe, run
run(read_recipe(sys.argv[1]), sys.argv[2])
"""


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.parametrize(
    ("world", "layers", "compensate", "tolerance"),
    [(2, "nhsic", False, 1e-4), (2, "nhsic", True, 3e-4), (4, "nhsic", True, 3e-4), (4, "curves", False, 1e-4)],
)
def test_several_processes_plan_and_train_like_one(tmp_path, world, layers, compensate, tolerance):
    # sums over parts round differently, and a ReLU that rounding turns on or off moves a gradient by a hundredth: of
    # losses 5e-5 (of weights 5e-15, in double precision). A refit is as far off as its moments are ill-conditioned,
    # 2e-5 of a weight and 6e-5 of a loss; who holds out other pictures is 1e-2 off
    options = {"epochs": 2, "reestimate": 16, "precision": "fp32", "channels_last": False, "lr": 0.001}
    made = recipe(
        tmp_path, depth=None, finetune=options, compensate=compensate, layer_importance={"name": layers},
        data={"name": "tensors", "root": str(data_file(tmp_path)), "batch": 32 // world, "calibration": 32},
        model={"name": "resnet20_cifar", "train_epochs": 1, "train_lr": 0.001},
    )  # fmt: skip
    (tmp_path / "r.yaml").write_text(to_yaml(made))
    run(made, tmp_path / "one")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = []
    for rank in range(world):
        place = {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(world),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }
        command = [sys.executable, "-c", SHARED, str(tmp_path / "r.yaml"), str(tmp_path / "several")]
        children.append(subprocess.Popen(command, env={**os.environ, **place, "OMP_NUM_THREADS": "1"}))
    assert [child.wait(timeout=600) for child in children] == [0] * world
    plans = [json.loads((tmp_path / out / "cut-1" / "plan.json").read_text()) for out in ("one", "several")]
    assert plans[0]["edits"] == plans[1]["edits"]
    losses = []
    for out in ("one", "several"):
        rows = [json.loads(line) for line in (tmp_path / out / "metrics.jsonl").read_text().splitlines()]
        losses.append([row["loss"] for row in rows if "loss" in row])
    assert len(losses[0]) == len(losses[1]) >= 3
    assert losses[0] == pytest.approx(losses[1], abs=tolerance)


def test_every_number_of_units_is_tried_and_the_fewest_that_do_as_well_stay(tmp_path, monkeypatch):
    reached = {1: 0.5, 2: 0.895, 3: 0.9, 4: 0.91, 5: 0.89, 6: 0.2, 7: 0.9, 8: 0.9}
    monkeypatch.setattr(tries, "_after_trial", lambda basis, plan, *_: reached[len(plan.made_by["stay"])])
    monkeypatch.setattr(tries, "_accuracy", lambda *_: 0.9)
    made, *_ = decided(tmp_path, model=NINE, budget=None, depth={"probe": 0.5, "samples": 32, "tolerance": 0.01})
    assert made.plan.made_by["tried"] == [f"{n} units: {reached[n]:.2%}" for n in reached]
    assert Plan.from_json(made.plan.to_json()).made_by["before"] == "90.00%"
    assert len(made.plan.made_by["stay"]) == 2


def test_trials_train_on_other_pictures_than_they_are_judged_by_and_touch_nothing(tmp_path):
    made, model, task = decided(tmp_path, model=SMALL, budget=None, depth={"probe": 0.5, "samples": 32})
    before = {name: value.clone() for name, value in model.state_dict().items()}
    again, *_ = decided(tmp_path, model=SMALL, budget=None, depth={"probe": 0.5, "samples": 32})
    assert again.plan.to_json() == made.plan.to_json()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    rest, judges = tries._parts(task, 0)
    assert sorted([*rest.places, *judges.places]) == list(range(len(task.train)))
