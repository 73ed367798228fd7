"""save(): the old artefact or the new one, whenever it is killed, and none that its plans did not make."""

import os
import random
import signal
import time
from copy import deepcopy

import pytest
import timm
import torch
import torch_pruning as tp
from tests.kill_points import draws, writes_before
from tests.small_nets import Residual, image, make
from torch import nn

import infoprune as ip
from infoprune import files
from infoprune.errors import BadArtifact, StalePlan

L2 = tp.importance.MagnitudeImportance(p=2)


def pruned(model, x=None, keep=0.5):
    x = image() if x is None else x
    plan = ip.plan(model, x, L2, budgets=[ip.budgets.macs(keep=keep)], floor=1)
    return ip.prune_(model, x, plan), plan


def two_artefacts():
    return [pruned(make(Residual), keep=keep) for keep in (0.7, 0.4)]


def answers(directory):
    with torch.no_grad():
        return ip.load(directory, factory=Residual)(image())


def is_one_of(directory, expected):
    return any(torch.equal(answers(directory), answer) for answer in expected)


def left_behind(tmp_path):
    return sorted(p.name for p in tmp_path.iterdir() if p.name != "a")


@pytest.fixture
def overwriting(tmp_path):
    """An artefact under its name, and the work that puts another there."""
    old, new = two_artefacts()
    ip.save(tmp_path / "a", *old)
    with torch.no_grad():
        return tmp_path / "a", [model(image()) for model, _ in (old, new)], old, lambda: ip.save(tmp_path / "a", *new)


@pytest.mark.alone
def test_killed_at_any_step_the_old_or_the_new_artefact_is_there(tmp_path, overwriting):
    target, expected, old, work = overwriting
    steps = writes_before(work)
    assert steps >= 8
    for step in draws(20, steps):
        writes_before(work, step)
        assert is_one_of(target, expected), step
    ip.save(target, *old)
    assert left_behind(tmp_path) == []
    assert torch.equal(answers(target), expected[0])


def test_an_exception_removes_what_was_begun(tmp_path, overwriting, monkeypatch):
    target, expected, _, work = overwriting
    monkeypatch.setattr(files, "sync", lambda path: (_ for _ in ()).throw(OSError("No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        work()
    assert torch.equal(answers(target), expected[0])
    assert left_behind(tmp_path) == []


@pytest.mark.slow
@pytest.mark.alone
def test_killed_at_two_hundred_moments_the_old_or_the_new_artefact_is_there(tmp_path, overwriting):
    target, expected, old, work = overwriting
    started = time.perf_counter()
    writes_before(work)
    length, cut_short = time.perf_counter() - started, 0
    for seed in range(200):
        child = os.fork()
        if child == 0:
            try:
                work()
            finally:
                os._exit(0)
        time.sleep(random.Random(seed).uniform(0, length))
        os.kill(child, signal.SIGKILL)
        cut_short += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        assert is_one_of(target, expected), seed
    assert cut_short >= 100
    ip.save(target, *old)
    assert left_behind(tmp_path) == []


@pytest.mark.alone
def test_without_a_swap_of_names_killed_saves_are_swept_by_the_next(tmp_path, overwriting, monkeypatch):
    """Some file systems have two renames only; the old artefact then lies beside, and the next save tidies up."""
    target, expected, old, work = overwriting
    monkeypatch.setattr(files, "_exchanged", lambda one, other: False)
    for step in draws(20, writes_before(work)):
        writes_before(work, step)
        beside = [p / "old" for p in tmp_path.glob(".a.partial-*") if (p / "old").is_dir()]
        assert any(is_one_of(place, expected) for place in [target, *beside] if place.is_dir()), step
        ip.save(target, *old)
        assert left_behind(tmp_path) == []


def test_what_a_running_process_writes_is_not_swept(tmp_path):
    model, plan = pruned(make(Residual))
    theirs = tmp_path / f"{files._ours(tmp_path / 'a')}{os.getpid()}-x"
    foreign = tmp_path / ".a.partial-otherhost-1-x"
    theirs.mkdir()
    foreign.mkdir()
    ip.save(tmp_path / "a", model, plan)
    assert theirs.is_dir()
    assert foreign.is_dir()


def test_a_link_stays_and_what_it_points_to_is_replaced(tmp_path):
    old, new = two_artefacts()
    ip.save(tmp_path / "a", *old)
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert ip.save(tmp_path / "link", *new) == tmp_path / "link"
    assert (tmp_path / "link").is_symlink()
    with torch.no_grad():
        assert torch.equal(answers(tmp_path / "a"), new[0](image()))


# ---------------------------------------------------------------------------------------------------- the story


def refused(tmp_path, *arguments, **options):
    with pytest.raises(StalePlan, match=r"the plans are not what made this model: .*; pass all plans") as told:
        ip.save(tmp_path / "a", *arguments, **options)
    assert list(tmp_path.iterdir()) == []
    return str(told.value)


def test_the_last_of_two_plans_is_not_the_story(tmp_path):
    model, _ = pruned(make(Residual), keep=0.7)
    model, second = pruned(model, keep=0.7)
    assert "2 were carried out on it" in refused(tmp_path, model, second)


def test_of_a_copy_the_factory_tells(tmp_path):
    model, _ = pruned(make(Residual), keep=0.7)
    model, second = pruned(model, keep=0.7)
    assert "what factory builds is another network" in refused(tmp_path, deepcopy(model), second, factory=Residual)


@pytest.mark.parametrize("options", [{}, {"factory": Residual}])
def test_an_unpruned_model_is_refused(tmp_path, options):
    _, plan = pruned(make(Residual))
    assert "and the plan leaves" in refused(tmp_path, make(Residual), plan, **options)


def test_a_plan_of_another_model_is_refused(tmp_path):
    model, _ = pruned(make(Residual))
    x = torch.zeros(1, 3, 64, 64)
    _, other = pruned(timm.create_model("resnet10t", num_classes=4).eval(), x)
    assert "absent" in refused(tmp_path, model, other)


def test_plans_in_another_order_are_refused(tmp_path):
    model, first = pruned(make(Residual), keep=0.7)
    model, second = pruned(model, keep=0.7)
    refused(tmp_path, model, [second, first])
    ip.save(tmp_path / "a", model, [first, second])


def test_blocks_that_are_still_there_are_told(tmp_path):
    model, x = timm.create_model("resnet18", num_classes=4).eval(), torch.zeros(1, 3, 64, 64)
    data = [(torch.randn(8, 3, 64, 64), torch.arange(8) % 4) for _ in range(2)]
    plan = ip.plan_depth(model, x, ip.unit_energies(model, data, x), keep_units=5)
    assert "still has" in refused(tmp_path, model, plan)


def test_a_model_that_was_loaded_goes_on_with_its_plans(tmp_path):
    model, first = pruned(make(Residual), keep=0.7)
    ip.save(tmp_path / "a", model, first)
    model, second = pruned(ip.load(tmp_path / "a", factory=Residual), keep=0.7)
    ip.save(tmp_path / "b", model, [first, second], factory=Residual)
    with torch.no_grad():
        assert torch.equal(answers(tmp_path / "b"), model(image()))


class Offset(nn.Module):
    """Swin v2 keeps a bias for its keys that no state dict holds."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(6, 12), nn.Linear(12, 3)
        self.register_buffer("offset", torch.randn(12), persistent=False)

    def forward(self, x):
        return self.two(self.one(x) + self.offset)


def test_a_buffer_that_is_not_saved_is_part_of_the_story(tmp_path):
    torch.manual_seed(0)
    model, x = Offset().eval(), torch.randn(2, 6)
    plan = ip.plan(model, x, tp.importance.MagnitudeImportance(p=2), rates=0.5)
    ip.save(tmp_path / "a", ip.prune_(model, x, plan), plan)
    assert (tmp_path / "a" / "config.json").is_file()


def test_a_buffer_that_is_drawn_anew_is_named_before_anything_is_saved(tmp_path):
    torch.manual_seed(0)
    model, x = Offset().eval(), torch.randn(2, 6)
    plan = ip.plan(model, x, tp.importance.MagnitudeImportance(p=2), rates=0.5)
    with pytest.raises(BadArtifact, match="offset is a buffer that is not saved"):
        ip.save(tmp_path / "a", ip.prune_(model, x, plan), plan, factory=Offset)
    assert not (tmp_path / "a").exists()
