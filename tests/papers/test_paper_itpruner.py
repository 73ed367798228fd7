"""Zheng et al., "An information theory-inspired strategy for automatic network pruning": equations 6 to 12."""

# ruff: noqa: E741
import copy
import itertools
import math

import numpy as np
import pytest
import torch
from tests.estimators import reference_hsic as paper
from torch import nn

import infoprune as ip
from infoprune.allocation import Posynomial, Problem, allocate
from infoprune.estimators import hsic
from infoprune.graph import Graph


@pytest.fixture
def maps(model, pictures):
    """The layers' outputs for n = 12 pictures, flattened; the first picture's numbers first."""
    found = []
    modules = [model.stem, *(block.conv1 for block in model.blocks)]
    handles = [m.register_forward_hook(lambda _, __, out: found.append(out.flatten(1).double())) for m in modules]
    with torch.no_grad():
        model(pictures[0][:12])
    for handle in handles:
        handle.remove()
    return found


def test_equation_6_is_hsic(maps):
    for x, y in itertools.pairwise(maps):
        k, l = x @ x.T, y @ y.T
        torch.testing.assert_close(hsic.hsic(k, l), paper.hsic_eq_6(k, l))


def test_equation_8_is_nhsic_and_12_its_uncentred_congruence(maps):
    for x, y in itertools.pairwise(maps):
        torch.testing.assert_close(hsic.nhsic(x, y), paper.nhsic_eq_8(x, y))
        torch.testing.assert_close(hsic.congruence(x, y), paper.nhsic_eq_12(x, y))


def test_equation_9_weighs_layers_by_what_they_share_with_others(model, pictures):
    """With the unbiased HSIC, where the paper prints the biased one; the head writes to no site and does not count."""
    x, beta, maps = pictures[0][:6], 0.7, {}
    layers = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)]
    copied = copy.deepcopy(model)
    for name in layers:
        copied.get_submodule(name).register_forward_hook(lambda _, __, out, name=name: maps.update({name: out}))
    with torch.no_grad():
        copied(x)
    centred = {name: out.flatten(1).double() - out.flatten(1).double().mean(0) for name, out in maps.items()}
    grams = [x @ x.T for x in centred.values()]
    every = [[float(paper.hsic_u_statistic(k, l)) for l in grams] for k in grams]
    share = [[every[i][j] / math.sqrt(every[i][i] * every[j][j]) for j in range(len(grams))] for i in range(len(grams))]
    printed = {name: math.exp(-beta * (sum(share[i]) - 1)) for i, name in enumerate(layers)}
    found = ip.layerwise.nhsic(ip.observe(model, [x], progress=False), beta=beta, scale="printed")(
        Graph.trace(model, x)
    )
    for name in (name for name in layers if name.endswith("conv1")):
        assert found[name] == pytest.approx(printed[name], rel=1e-4)


@pytest.mark.parametrize("seed", range(6))
def test_equations_10_and_11_are_solved_to_the_optimum(seed):
    """max i'a subject to a'Ta < budget, over whole numbers of channels: every choice is tried."""
    rng = np.random.default_rng(seed)
    sizes, weights = np.array([6, 8, 5]), rng.uniform(0.1, 1, 3)
    macs = Posynomial.quadratic(np.triu(rng.integers(1, 5, (3, 3)), 1), rng.integers(1, 9, 3))
    choices = np.array(list(itertools.product(*(range(1, n + 1) for n in sizes))))
    prices = np.array([macs(choice) for choice in choices])
    limit = float(np.quantile(prices, 0.4))
    best = max(float(weights @ (choice / sizes)) for choice in choices[prices <= limit])
    found = allocate(Problem(weights=weights, sizes=sizes, costs=[macs], limits=[limit], utility=1.0))
    assert macs(found.counts) <= limit
    assert float(weights @ (found.counts / sizes)) == pytest.approx(best)
