"""The three criteria against the equations."""

import logging

import pytest
import reference_capacity as reference
import torch
import torch_pruning as tp
from coupled_nets import NETS, groups_of, traced
from torch import nn

from infoprune.importance import (
    CapacityImportance,
    CapacityIndependenceImportance,
    IndependenceImportance,
    saturation,
)
from infoprune.importance.base import kernels_of

LAYERS = {
    "conv": lambda: nn.Conv2d(5, 7, 3),
    "1x1": lambda: nn.Conv2d(6, 8, 1),
    "1-D": lambda: nn.Conv1d(4, 6, 5),
    "3-D": lambda: nn.Conv3d(3, 5, 2),
    "transposed": lambda: nn.ConvTranspose2d(5, 6, 2),
    "grouped": lambda: nn.Conv2d(6, 9, 3, groups=3),
    "depthwise": lambda: nn.Conv2d(6, 6, 3, groups=6),
    "linear": lambda: nn.Linear(9, 6),
}
DISTANCES = ["euclidean", "manhattan", "chebyshev", "cosine"]


def group_of(layer):
    """A group of this layer's outputs alone."""
    inputs = 4 * layer.in_channels if isinstance(layer, nn.modules.conv._ConvNd) else layer.in_features
    dims = {nn.Linear: 0, nn.Conv1d: 1, nn.Conv3d: 3}.get(type(layer), 2)
    shape = (2, inputs if dims == 0 else layer.in_channels, *[7] * dims)
    is_depthwise = isinstance(layer, nn.Conv2d) and layer.groups == layer.out_channels
    prune = tp.prune_linear_out_channels if dims == 0 else tp.prune_conv_out_channels
    prune = tp.prune_depthwise_conv_out_channels if is_depthwise else prune
    graph = traced(nn.Sequential(layer), (torch.randn(shape),))
    size = layer.out_features if dims == 0 else layer.out_channels
    return graph.get_pruning_group(layer, prune, list(range(size)))


def close(score, expected):
    torch.testing.assert_close(score.double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("nearest", [None, 1, 3])
@pytest.mark.parametrize("kind", LAYERS)
def test_capacity_is_equations_1_to_5(kind, nearest, distance):
    layer = LAYERS[kind]()
    score = CapacityImportance(nearest=nearest, distance=distance)(group_of(layer))
    close(score, reference.capacity(kernels_of(layer, kind), nearest, distance))


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("kind", LAYERS)
def test_independence_is_equation_6(kind, distance):
    layer = LAYERS[kind]()
    score = IndependenceImportance(distance=distance)(group_of(layer))
    close(score, reference.independence(kernels_of(layer, kind), distance))


@pytest.mark.parametrize("sigma", [0.0, 0.3, 0.8, 1.0])
@pytest.mark.parametrize("kind", LAYERS)
def test_the_mix_is_equation_7(kind, sigma):
    layer = LAYERS[kind]()
    score = CapacityIndependenceImportance(sigma=sigma)(group_of(layer))
    close(score, reference.mix(kernels_of(layer, kind), sigma))


def test_a_wide_trained_looking_layer_matches_too():
    layer = nn.Conv2d(64, 12, 3)
    layer.weight.data = torch.randn(12, 64, 3, 3).pow(3) * 0.05 + 0.02
    weights = kernels_of(layer, "layer")
    close(CapacityImportance()(group_of(layer)), reference.capacity(weights))
    close(IndependenceImportance()(group_of(layer)), reference.independence(weights))


def test_scores_a_residual_group_as_the_mean_over_its_layers():
    net, inputs = NETS["residual"]()
    group = next(g for g in groups_of(net, inputs) if {net.branch, net.shortcut} <= {i.dep.layer for i in g})
    layers = [net.branch, net.shortcut]
    expected = sum(reference.mix(kernels_of(layer, "layer"), 0.8) for layer in layers) / 2
    close(CapacityIndependenceImportance()(group), expected)


def test_doubles_are_scored_in_double():
    layer = nn.Conv2d(5, 7, 3).double()
    graph = traced(nn.Sequential(layer), (torch.randn(1, 5, 7, 7, dtype=torch.float64),))
    group = graph.get_pruning_group(layer, tp.prune_conv_out_channels, list(range(7)))
    expected = reference.mix(kernels_of(layer, "layer"), 0.8)
    torch.testing.assert_close(CapacityIndependenceImportance()(group), expected, rtol=1e-9, atol=1e-10)


def test_duplicate_filters_tie_exactly_and_identical_ones_score_zero():
    layer = nn.Conv2d(8, 300, 3)
    layer.weight.data[150:] = layer.weight.data[:150]
    score = CapacityIndependenceImportance()(group_of(layer))
    assert torch.equal(score[150:], score[:150])
    layer.weight.data[:] = layer.weight.data[0].clone()
    assert IndependenceImportance()(group_of(layer)).abs().max() == 0
    assert CapacityIndependenceImportance()(group_of(layer)).abs().max() == 0


def test_depthwise_layers_rest_on_independence():
    layer = LAYERS["depthwise"]()
    assert CapacityImportance()(group_of(layer)).unique().tolist() == [1.0]
    rank = IndependenceImportance()(group_of(layer)).argsort()
    assert torch.equal(CapacityIndependenceImportance()(group_of(layer)).argsort(), rank)


def test_a_single_filter_scores_zero_not_nan():
    assert CapacityIndependenceImportance()(group_of(nn.Conv2d(3, 1, 3))).tolist() == [0.0]


def test_saturation_is_reported_per_layer():
    net = nn.Sequential(nn.Conv2d(4, 6, 1), nn.Conv2d(6, 6, 3, groups=6), nn.Conv2d(6, 4, 3))
    nn.init.normal_(net[2].weight, std=50.0)
    moderate, depthwise, saturated = saturation(net)
    assert moderate.saturated == 0.0
    assert depthwise.constant
    assert depthwise.tied == 1.0
    assert "only independence" in str(depthwise)
    assert saturated.saturated == 1.0
    assert str(saturated).startswith("2: 100% of the filters saturated")


def test_nearest_moderates_saturation():
    layer = nn.Linear(2000, 20)
    nn.init.normal_(layer.weight, std=0.1)
    [full], [near] = saturation(layer), saturation(layer, nearest=4)
    assert near.saturated < full.saturated


def test_saturated_layers_are_logged_at_level_info(caplog):
    layer = LAYERS["depthwise"]()
    with caplog.at_level(logging.INFO, logger="infoprune"):
        CapacityIndependenceImportance()(group_of(layer))
    assert "one kernel per filter" in caplog.text


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CapacityIndependenceImportance(sigma=1.01), "sigma is 1.01"),
        (lambda: CapacityIndependenceImportance(sigma=float("nan")), "sigma is nan"),
        (lambda: CapacityImportance(nearest=0), "nearest is 0"),
        (lambda: CapacityIndependenceImportance(nearest=-3), "nearest is -3"),
        (lambda: IndependenceImportance(distance="euclid"), "did you mean 'euclidean'"),
        (lambda: CapacityImportance(distance="hamming"), "known: chebyshev, cosine, euclidean, manhattan"),
    ],
)
def test_options_are_checked_at_construction(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_options_are_frozen_and_comparable():
    assert CapacityImportance(nearest=3) == CapacityImportance(nearest=3)
    with pytest.raises(AttributeError):
        CapacityImportance().nearest = 2
