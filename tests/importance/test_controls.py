"""Random filters and the most important ones first (table VIII), and distances of independence alone (table VII)."""

import pytest
import torch
from tests.importance import reference_capacity as reference
from tests.importance.test_capacity_independence import group_of, kernels_of
from torch import nn

import infoprune as ip
from infoprune.importance import (
    CapacityIndependenceImportance,
    MostImportantFirstImportance,
    SeededRandomImportance,
)


@pytest.fixture
def group():
    torch.manual_seed(0)
    return group_of(nn.Conv2d(5, 8, 3))


def test_the_most_important_go_first(group):
    least, most = CapacityIndependenceImportance()(group), MostImportantFirstImportance()(group)
    assert torch.equal(most, -least)
    assert torch.equal(most.argsort(), least.argsort(descending=True))


def test_random_filters_follow_the_seed_and_the_layer_not_the_weights(group):
    first, again, other = (SeededRandomImportance(seed=seed)(group) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len(first.unique()) == 8
    torch.rand(3)
    assert torch.equal(SeededRandomImportance(seed=1)(group_of(nn.Conv2d(5, 8, 3))), first)


def test_random_scores_are_uniform_over_layers():
    names = [SeededRandomImportance().rate(torch.empty(500, 1, 1), f"layer{i}") for i in range(20)]
    assert torch.stack(names).mean() == pytest.approx(0.5, abs=4 / (12 * 10000) ** 0.5)
    assert torch.corrcoef(torch.stack(names)).triu(1).abs().max() < 0.25


@pytest.mark.parametrize("kind", ["manhattan", "chebyshev", "cosine"])
def test_the_distance_of_independence_alone_is_table_vii(kind):
    torch.manual_seed(0)
    layer = nn.Conv2d(5, 8, 3)
    kernels = kernels_of(layer, "layer")
    rich, rare = reference.norm(reference.capacity(kernels)), reference.norm(reference.independence(kernels, kind))
    found = CapacityIndependenceImportance(sigma=0.6, independence_distance=kind)(group_of(layer))
    torch.testing.assert_close(found, (0.6 * rich + 0.4 * rare).float(), rtol=0, atol=1e-5)


def test_wrong_options_are_named():
    with pytest.raises(ValueError, match="sigma is 2"):
        MostImportantFirstImportance(sigma=2)
    with pytest.raises(ValueError, match="no distance 'manhatan'"):
        CapacityIndependenceImportance(independence_distance="manhatan")


@pytest.mark.parametrize("importance", [SeededRandomImportance(), MostImportantFirstImportance()])
def test_the_highest_scores_stay(importance):
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3)), torch.rand(1, 3, 9, 9)
    scores, weight = importance.rate(model[0].weight.detach().flatten(2), "0"), model[0].weight.detach().clone()
    pruned = ip.prune_(model, x, ip.plan(model, x, importance, rates=0.5, ignored_layers=[model[2]]))
    assert torch.equal(pruned[0].weight, weight[scores.topk(4).indices.sort().values])
