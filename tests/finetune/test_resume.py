"""Kill at any moment, run again: the final weights are bitwise those of the uninterrupted run."""

import copy
import errno
import itertools
import os
import random
import signal
import time
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from infoprune import files
from infoprune.data.tensors import task_of
from infoprune.finetune import Checkpoints, Surroundings, Training, checkpoints, loop, train
from infoprune.finetune.checkpoints import State, load_tensors, save_tensors

FULL = Training(
    epochs=6, lr=0.05, ema=0.9, mixup=0.2, cutmix=1.0, label_smoothing=0.1, warmup_epochs=1, clip_norm=1.0,
    reestimate=32, save_seconds=0.0,
)  # fmt: skip


def net(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout2d(0.2), nn.Conv2d(8, 8, 3),
        nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4),
    )  # fmt: skip


def examples(n=64):
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(n, 3, 8, 8, generator=generator)
    labels = torch.arange(n) % 4
    return task_of(images + labels[:, None, None, None], labels, images, labels).train


def run(training=FULL, directory=None, stop=lambda: False, say=lambda message: None):
    model = net()
    around = Surroundings(checkpoints=directory, stop=stop, say=say)
    ended = train(model, examples(), training, batch=16, seed=5, classes=4, teacher=net(1), around=around)
    return model, ended


def same(a, b):
    return all(torch.equal(x, b.state_dict()[name]) for name, x in a.state_dict().items())


@pytest.fixture(scope="module")
def uninterrupted():
    return run()[0]


def killed(directory, after_seconds, training=FULL):
    """A child process that is killed after a while; whether it was still at work."""
    child = os.fork()
    if child == 0:
        try:
            run(training, directory)
        finally:
            os._exit(0)
    time.sleep(after_seconds)
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def kill_and_go_on(tmp_path, uninterrupted, seeds, training=FULL):
    started = time.perf_counter()
    run(training)
    length, cut_short = time.perf_counter() - started, 0
    for seed in seeds:
        draw, directory = random.Random(seed), tmp_path / str(seed)
        for _ in range(draw.randint(1, 3)):
            cut_short += killed(directory, draw.uniform(0, length), training)
        assert same(run(training, directory)[0], uninterrupted), seed
    return cut_short


@pytest.mark.alone
def test_killed_processes_end_with_the_same_weights(tmp_path, uninterrupted):
    assert kill_and_go_on(tmp_path, uninterrupted, range(3)) > 0


@pytest.mark.slow
@pytest.mark.parametrize("training", [FULL, Training(epochs=6, optimizer="adamw", lr=1e-3, save_seconds=0.01)])
@pytest.mark.alone
def test_twenty_random_kill_points(tmp_path, training):
    assert kill_and_go_on(tmp_path, run(training)[0], range(100, 120), training) >= 15


@pytest.mark.parametrize(
    "training",
    [
        Training(epochs=3, distill=0, save_seconds=0),
        Training(epochs=3, optimizer="adamw", lr=1e-3, precision="fp32", channels_last=False, save_seconds=0),
        Training(epochs=3, schedule="one_cycle", ema=0.5, save_seconds=0),
    ],
)
@pytest.mark.parametrize("at", [1, 5, 11])
def test_stopping_after_any_step_and_going_on_changes_nothing(tmp_path, training, at):
    calls = iter(range(1, 1000))
    _, ended = run(training, tmp_path, stop=lambda: next(calls) == at)
    assert (ended.ended, ended.steps) == ("stopped", at)
    model, ended = run(training, tmp_path)
    assert (ended.ended, ended.steps) == ("finished", 12)
    assert same(model, run(training)[0])


def test_a_truncated_checkpoint_costs_one_interval_and_is_told(tmp_path, uninterrupted):
    calls, told = iter(range(1, 1000)), []
    run(directory=tmp_path, stop=lambda: next(calls) == 9)
    newest = max(tmp_path.glob("step-*"))
    data = (newest / "state.safetensors").read_bytes()
    (newest / "state.safetensors").write_bytes(data[: len(data) // 2])
    model, _ = run(directory=tmp_path, say=told.append)
    assert same(model, uninterrupted)
    assert "damaged" in told[1]
    assert told[2] == "going on from step 8 of 24"


@pytest.mark.parametrize("target", ["write_tensors", "sync"])
def test_a_full_disk_is_told_and_training_goes_on(tmp_path, uninterrupted, monkeypatch, target):
    kept, calls, told = getattr(checkpoints, target), iter(range(1, 1000)), []

    def full(*arguments, **more):
        if 20 <= next(calls) < 30:
            raise OSError(errno.ENOSPC, "No space left on device")
        return kept(*arguments, **more)

    monkeypatch.setattr(checkpoints, target, full)
    model, ended = run(directory=tmp_path, say=told.append)
    assert ended.ended == "finished"
    assert same(model, uninterrupted)
    assert "No space left" in told[1]
    assert not list(tmp_path.glob(".*partial"))


def test_the_last_two_checkpoints_are_kept(tmp_path):
    kept = Checkpoints(tmp_path, lambda message: None)
    for step in range(1, 6):
        kept.write(State(step, {"x": torch.full((2,), float(step))}, {}))
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["step-000000004", "step-000000005"]
    assert kept.newest().tensors["x"].tolist() == [5.0, 5.0]
    kept.write(State(3, {"x": torch.zeros(2)}, {}))
    assert kept.newest().step == 3


def test_time_is_counted_over_interruptions(tmp_path, monkeypatch):
    ticks = itertools.count()  # a clock of its own, whatever else the machine does
    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: 0.01 * next(ticks)))
    training = Training(epochs=1000, minutes=0.5 / 60, save_seconds=0.1)
    calls = iter(range(1, 1000))
    _, first = run(training, tmp_path, stop=lambda: next(calls) == 3)
    _, second = run(training, tmp_path)
    assert (first.ended, second.ended) == ("stopped", "out of time")
    assert first.seconds < 0.2
    assert second.seconds == pytest.approx(0.5, abs=0.05)
    assert second.steps < run(training)[1].steps + 3  # what was spent before the interruption counts


def test_training_leaves_random_states_and_modes_alone(tmp_path):
    before, teacher = torch.get_rng_state(), net(1)
    weights = copy.deepcopy(teacher.state_dict())
    train(net(), examples(), Training(epochs=1), batch=16, classes=4, teacher=teacher)
    torch.manual_seed(0)
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(value, weights[name]) for name, value in teacher.state_dict().items())


def test_tensors_are_stored_whole_or_not_at_all(tmp_path, monkeypatch):
    save_tensors(tmp_path / "a", {"x": torch.ones(3)})
    monkeypatch.setattr(files, "sync", lambda path: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        save_tensors(tmp_path / "a", {"x": torch.zeros(3)})
    assert load_tensors(tmp_path / "a")["x"].tolist() == [1, 1, 1]
