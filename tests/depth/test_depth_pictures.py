"""The pictures of depth show what the numbers say."""

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from tests.depth.skip_nets import CifarResNet, randomised

import infoprune as ip
from infoprune.report import depth

X = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
ENERGIES = {f"layers.{i}": (value, 0.1) for i, value in enumerate([1.0, 1.1, 5.0, 5.2, 9.0, 9.1])}


@pytest.fixture(scope="module")
def model():
    return randomised(CifarResNet())


def offsets(collection):
    return np.asarray(collection.get_offsets())


def test_energies_are_drawn_once_and_what_stays_is_filled(model):
    plan = ip.plan_depth(model, X, ENERGIES, clusters=3)
    figure = depth.energies(ENERGIES, plan, 3)
    assert isinstance(figure, Figure)
    *_, hollow, filled = figure.axes[0].collections
    assert offsets(filled)[:, 0].tolist() == [1, 3, 5]
    assert sorted([*offsets(filled)[:, 1], *offsets(hollow)[:, 1]]) == [v for v, _ in ENERGIES.values()]
    assert len(figure.axes[1].patches) == 3  # one band a cluster


def test_energies_without_errors_are_drawn_too(model):
    bare = {unit: value for unit, (value, _) in ENERGIES.items()}
    plan = ip.plan_depth(model, X, bare, clusters=2)
    assert len(depth.energies(bare, plan, 2).axes) == 2


def test_the_trade_off_shows_every_depth_and_rings_the_chosen_one(model):
    importance = ip.importance.IndependenceImportance()
    budget = ip.budgets.macs(keep=0.3)
    found = ip.plan_depth_and_width(model, X, importance, ENERGIES, budgets=budget, depths=[6, 4, 2], floor=0.7)
    assert found.unreachable  # with seven tenths of all channels at least, the whole depth is out of reach
    figure = depth.trade_off(found)
    for axes, values in zip(
        figure.axes, ([d.worth for d in found.depths], [100 * d.width for d in found.depths]), strict=True
    ):
        assert axes.lines[0].get_xdata().tolist() == [d.units for d in found.depths]
        assert axes.lines[0].get_ydata().tolist() == values
        crosses = [line.get_xdata()[0] for line in axes.lines[1:]]
        assert crosses == list(found.unreachable)
    chosen = next(d for d in found.depths if d.plan is found.plan)
    assert offsets(figure.axes[0].collections[0])[0].tolist() == [chosen.units, chosen.worth]


def test_a_shallower_network_keeps_more_of_its_channels(model):
    importance = ip.importance.IndependenceImportance()
    found = ip.plan_depth_and_width(model, X, importance, ENERGIES, budgets=ip.budgets.macs(keep=0.5), depths=[6, 4])
    deep, shallow = found.depths
    assert deep.width < shallow.width <= 1
    assert f"{shallow.width:.1%}" in str(found)
