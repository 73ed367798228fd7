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


@pytest.mark.parametrize("kernel", ["linear", "gaussian"])
def test_algorithm_1_as_printed_weighs_layers_by_biased_nhsic_of_maps_behind_activations(model, pictures, kernel):
    """Lines 1 to 3: n samples at once though the loader gives seven at a time; eqs. 8 and 9 spelled as printed."""
    x, beta = pictures[0][:23], 0.7
    grams = {name: printed_gram(map_.flatten(1).double(), kernel) for name, map_ in maps_by_hand(model, x).items()}
    h = torch.eye(23).double() - torch.ones(23, 23).double() / 23

    def nhsic_eq_8(k, l):
        k, l = h @ k @ h, h @ l @ h
        return float(torch.trace(k @ l) / (torch.trace(k @ k).sqrt() * torch.trace(l @ l).sqrt()))

    printed = {l: math.exp(-beta * sum(nhsic_eq_8(grams[l], grams[i]) for i in grams if i != l)) for l in grams}
    seen = ip.observe(model, x.split(7), progress=False, printed=kernel)
    graph = ip.Graph.trace(model, x[:1])
    found = ip.layerwise.nhsic(seen, beta=beta, scale="printed")(graph)
    stream = next(site.name for site in graph.sites if not site.name.endswith("conv1"))
    printed[stream] = printed.pop("stem") + sum(printed.pop(f"blocks.{i}.conv2") for i in range(4))
    assert found == pytest.approx(printed, rel=1e-4)
    named = ip.layerwise.nhsic_printed(model, x.split(7), kernel=kernel, beta=beta, scale="printed", progress=False)
    assert named(graph) == found


def maps_by_hand(model, x):
    """What every convolution's channels come out as: behind the ReLU that follows its norm, or its norm and the sum."""
    found = {}
    with torch.no_grad():
        now = found["stem"] = torch.relu(model.bn(model.stem(x)))
        for i, block in enumerate(model.blocks):
            within = found[f"blocks.{i}.conv1"] = torch.relu(block.bn1(block.conv1(now)))
            now = found[f"blocks.{i}.conv2"] = torch.relu(now + block.bn2(block.conv2(within)))
    return found


def printed_gram(x, kernel):
    """k(x, y) = x'y, or exp(-|x - y|^2 / 2 s^2); the paper prints no s, here the median distance of samples."""
    if kernel == "linear":
        return x @ x.T
    squared = torch.tensor([[float((a - b).square().sum()) for b in x] for a in x]).double()
    apart = sorted(squared[i, j].sqrt().item() for i in range(len(x)) for j in range(i))
    return torch.exp(-squared / (2 * apart[(len(apart) - 1) // 2] ** 2))


@pytest.mark.parametrize("seed", [*range(5), pytest.param(5, marks=pytest.mark.slow)])
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
