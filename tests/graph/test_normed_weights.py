"""Weights under norms: the pruned layer keeps its norm, whose value over what is left is another one by design."""

import copy

import numpy as np
import pytest
import torch
from tests.masked_by_hand import L2, prunes_right
from torch import nn
from torch.nn.utils import parametrizations, spectral_norm, weight_norm

import infoprune as ip
from infoprune.graph import Graph
from infoprune.graph.site_scores import score_sites
from infoprune.importance import CapacityIndependenceImportance

pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")

NORMS = {
    "weight norm": parametrizations.weight_norm,
    "weight norm of columns": lambda layer: parametrizations.weight_norm(layer, dim=1),
    "weight norm of all": lambda layer: parametrizations.weight_norm(layer, dim=None),
    "weight norm by hook": weight_norm,
    "spectral norm": parametrizations.spectral_norm,
    "spectral norm by hook": spectral_norm,
}


def plain():
    return nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 10, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(10, 8), nn.ReLU(), nn.Linear(8, 4),
    )  # fmt: skip


def normed(norm):
    model = plain()
    for place in (0, 2, 6):
        NORMS[norm](model[place])
    for _ in range(3):  # spectral norms find their vectors
        model.train()(image(2))
    return model.eval()


def image(count, size=8):
    return torch.randn(count, 3, size, size)


@pytest.mark.parametrize("norm", NORMS)
def test_layers_under_a_norm_shrink_and_keep_it(norm):
    model = normed(norm)
    x = image(2)
    axis = {"weight norm": 0, "weight norm by hook": 0, "weight norm of columns": 1}.get(norm)
    plan = prunes_right(model, x, image(1, 11), normed_axis=axis)
    assert plan.widths == {"0": 6, "2": 5, "6": 4}
    kind = "weight norm" if norm.startswith("weight") else "spectral norm"
    assert ip.certificate_of(model, x, plan).statistics == (kind,)
    pruned = ip.prune_(model, x, plan)
    assert pruned[2].weight.shape == (5, 6, 3, 3)
    assert (pruned[6].in_features, pruned[6].out_features) == (5, 4)
    pruned.train()(x).sum().backward()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in pruned.parameters())
    with torch.no_grad():
        assert torch.equal(pruned.eval()(x), copy.deepcopy(pruned)(x))


@pytest.mark.parametrize("norm", NORMS)
def test_what_is_scored_is_the_weight_that_is_used(norm):
    model, layers = normed(norm), plain().eval()
    x = image(2)
    with torch.no_grad():
        model(x)
        for place in (0, 2, 6):
            layers[place].weight.copy_(model[place].weight)
            layers[place].bias.copy_(model[place].bias)
        layers[8].load_state_dict(model[8].state_dict())
    for importance in (L2, CapacityIndependenceImportance()):
        expected, found = (score_sites(Graph.trace(m, x), importance) for m in (layers, model))
        assert list(found) == ["0", "2", "6"]
        for name in expected:
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-5)


def test_weight_norm_of_rows_alone_is_exact():
    """Each row has a norm of its own, and no row loses a column."""
    model = nn.Sequential(parametrizations.weight_norm(nn.Linear(6, 12)), nn.ReLU(), nn.Linear(12, 3)).eval()
    x = torch.randn(2, 6)
    plan = prunes_right(model, x, torch.randn(5, 6), normed_axis=0)
    assert ip.certificate_of(model, x, plan).verdict == "exact"


def test_a_spectral_norm_in_training_mode_is_not_moved_by_planning():
    model = normed("spectral norm").train()
    before = copy.deepcopy(model.state_dict())
    ip.plan(model, image(2), L2, rates=0.5)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
