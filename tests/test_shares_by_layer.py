"""Floors, rates and ignored layers by module, name, subtree or glob."""

import math

import pytest
import torch
import torch_pruning as tp
from torch import nn

import infoprune as ip
from infoprune.errors import UnknownName

L2 = tp.importance.MagnitudeImportance(p=2)


class Stages(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 10, 3, padding=1)
        self.early = nn.Sequential(nn.Conv2d(10, 20, 3, padding=1), nn.ReLU(), nn.Conv2d(20, 20, 3, padding=1))
        self.late = nn.Sequential(nn.Conv2d(20, 30, 3, padding=1), nn.ReLU(), nn.Conv2d(30, 30, 3, padding=1))
        self.head = nn.Linear(30, 4)

    def forward(self, x):
        return self.head(self.late(self.early(self.stem(x).relu()).relu()).mean((2, 3)))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Stages().eval()


def widths(model, **options):
    sizes = {"stem": 10, "early.0": 20, "early.2": 20, "late.0": 30, "late.2": 30}
    return {**sizes, **ip.plan(model, torch.zeros(1, 3, 8, 8), L2, **options).widths}


@pytest.mark.parametrize("key", ["late", "late.*", "l*e.?"])
def test_a_subtree_and_a_glob_mean_all_layers_in_them(model, key):
    found = widths(model, rates={key: 0.5})
    assert found == {"stem": 10, "early.0": 20, "early.2": 20, "late.0": 15, "late.2": 15}


def test_modules_and_names_are_keys_alike(model):
    for key in (model.early[0], "early.0"):
        assert widths(model, rates={key: 0.25})["early.0"] == 15
    assert widths(model, rates={model.late: 0.5}) == widths(model, rates={"late": 0.5})


def test_the_last_key_that_means_a_site_counts(model):
    found = widths(model, rates={"*": 0.5, "late": 0.2, "late.2": 0.0})
    assert found == {"stem": 5, "early.0": 10, "early.2": 10, "late.0": 24, "late.2": 30}
    assert widths(model, rates={"late.2": 0.0, "*": 0.5})["late.2"] == 15


def test_floors_hold_where_their_keys_say_and_are_the_usual_ones_elsewhere(model):
    tight = [ip.budgets.macs(keep=0.25)]
    found = widths(model, floor={"late*": 0.6, model.stem: 4}, budgets=tight)
    assert found["late.0"] >= 18
    assert found["late.2"] >= 18
    assert found["stem"] >= 4
    assert min(found["early.0"], found["early.2"]) >= 2 == math.ceil(0.1 * 20)
    assert min(found["early.0"], found["early.2"]) < 12


def test_a_plan_with_such_shares_is_plain_data(model):
    plan = ip.plan(model, torch.zeros(1, 3, 8, 8), L2, floor={model.stem: 4}, budgets=[ip.budgets.macs(keep=0.5)])
    assert plan.made_by["floor"] == ["stem=4"]
    assert ip.Plan.from_json(plan.to_json()) == plan


@pytest.mark.parametrize("what", ["rates", "floor"])
def test_a_key_that_means_nothing_is_told(model, what):
    options = {"budgets": [ip.budgets.macs(keep=0.5)]} if what == "floor" else {}
    with pytest.raises(UnknownName, match=rf"{what} names 'later\.\*', which is not a site; did you mean 'late"):
        widths(model, **{what: {"later.*": 0.5}}, **options)


def test_a_site_is_meant_by_every_layer_that_writes_to_it():
    class Stream(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.branch, self.head = nn.Linear(3, 8), nn.Linear(8, 8), nn.Linear(8, 2)

        def forward(self, x):
            y = self.stem(x)
            return self.head(y + self.branch(y).relu())

    model, x = Stream(), torch.zeros(1, 3)
    for key in ("stem", "branch"):
        assert list(ip.plan(model, x, L2, rates={key: 0.5}).widths.values()) == [4]


def test_ignored_layers_take_globs(model):
    found = widths(model, rates=0.5, ignored_layers=["late.*"])
    assert (found["late.0"], found["late.2"], found["stem"]) == (30, 30, 5)
    with pytest.raises(UnknownName, match="ignored_layers names 'x\\*'"):
        widths(model, rates=0.5, ignored_layers=["x*"])
