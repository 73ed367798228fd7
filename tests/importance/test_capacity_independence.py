"""The three criteria against the equations."""

import logging

import pytest
import torch
import torch_pruning as tp
from tests.importance import reference_capacity as reference
from tests.importance.coupled_nets import NETS, groups_of, traced
from torch import nn

from infoprune.errors import BadWeights
from infoprune.graph import Graph, Member
from infoprune.importance import (
    CapacityImportance,
    CapacityIndependenceImportance,
    IndependenceImportance,
    saturation,
)
from infoprune.importance.base import kernels_of, reading_filters

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


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize(("nearest", "scale"), [(None, 1e-5), (None, 0.1), (8, 1e-4)])
def test_equation_7_holds_for_tiny_weights_in_any_order_of_kernels(kernel, nearest, scale):
    """Entropies then differ from log2 n in late digits, which the min-max norm spreads over [0, 1]."""
    torch.manual_seed(0)
    layer = nn.Conv2d(70, 4, kernel)
    nn.init.normal_(layer.weight, std=scale)
    criterion = CapacityIndependenceImportance(sigma=1, nearest=nearest)
    score = criterion(group_of(layer))
    torch.testing.assert_close(score, reference.mix(layer.weight.detach(), 1, nearest).float(), rtol=0, atol=1e-4)
    shuffled = nn.Conv2d(70, 4, kernel)
    shuffled.weight.data = layer.weight.data[:, torch.randperm(70)]
    torch.testing.assert_close(criterion(group_of(shuffled)), score, rtol=0, atol=1e-4)


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


# ------------------------------------------------------------------------------------------------------- the readers


def read_by(layer):
    """What every input channel's kernels are, output by output; of its own group of outputs where there are groups."""
    weight = layer.weight.detach()
    if isinstance(layer, nn.Linear):
        return weight.T.unsqueeze(2)
    if isinstance(layer, nn.ConvTranspose2d):
        return weight.flatten(2)
    inputs, outputs = layer.in_channels // layer.groups, layer.out_channels // layer.groups
    return torch.stack(
        [
            torch.stack([weight[g * outputs + o, c].flatten() for o in range(outputs)])
            for g in range(layer.groups)
            for c in range(inputs)
        ]
    )


READERS = {kind: LAYERS[kind] for kind in LAYERS.keys() - {"depthwise"}}


def reader_of(layer):
    """A group of this layer's inputs and of the layer that computes them."""
    inputs = layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels
    if isinstance(layer, nn.Linear):
        writer, x = nn.Linear(3, inputs), torch.randn(2, 3)
    else:
        dims = layer.weight.ndim - 2
        writer = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1](3, inputs, 1)
        x = torch.randn(2, 3, *[7] * dims)
    prune = tp.prune_linear_out_channels if x.ndim == 2 else tp.prune_conv_out_channels
    graph = traced(nn.Sequential(writer, layer), (x,))
    return writer, graph.get_pruning_group(writer, prune, list(range(inputs)))


@pytest.mark.parametrize("kind", sorted(READERS))
def test_readers_are_rated_like_writers(kind):
    layer = READERS[kind]()
    writer, group = reader_of(layer)
    for importance, rated in [
        (CapacityImportance(readers=True), reference.capacity),
        (IndependenceImportance(readers=True), reference.independence),
        (CapacityIndependenceImportance(sigma=0.6, readers=True), lambda w: reference.mix(w, 0.6)),
    ]:
        close(importance(group), (rated(kernels_of(writer, "writer")) + rated(read_by(layer))) / 2)


def test_readers_have_no_say_unless_asked():
    writer, group = reader_of(nn.Conv2d(6, 9, 3))
    close(IndependenceImportance()(group), reference.independence(kernels_of(writer, "writer")))


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5], [4, 1, 5]])
def test_a_linear_reader_of_flattened_maps_is_the_convolution_that_it_amounts_to(order):
    conv, linear = nn.Conv2d(6, 10, (2, 3)), nn.Linear(36, 10)
    linear.weight.data = conv.weight.data.flatten(1)
    writer, x = nn.Conv2d(3, 6, 1), torch.randn(2, 3, 2, 3)
    importance = CapacityIndependenceImportance(readers=True, reduction="max")  # an entry a pixel would weigh a mean
    scores = [
        importance(traced(net, (x,)).get_pruning_group(writer, tp.prune_conv_out_channels, order))
        for net in (nn.Sequential(writer, conv), nn.Sequential(writer, nn.Flatten(), linear))
    ]
    torch.testing.assert_close(scores[0], scores[1])


class PixelsFirst(nn.Sequential):
    """Reads maps pixel by pixel, so that a channel's inputs are not neighbours."""

    def forward(self, x):
        return self[1](self[0](x).permute(0, 2, 3, 1).flatten(1))


def test_inputs_that_are_no_neighbours_are_rated_one_by_one():
    net, x = PixelsFirst(nn.Conv2d(3, 4, 1), nn.Linear(16, 5)), torch.randn(2, 3, 2, 2)
    graph = Graph.trace(net, x)
    group, _ = graph.group(graph.sites[0].name)
    each = reference.independence(net[1].weight.detach().T.unsqueeze(2))
    expected = (reference.independence(kernels_of(net[0], "0")) + each.view(4, 4).sum(0)) / 5
    close(IndependenceImportance(readers=True)(group), expected)
    strided, root = torch.arange(16).view(4, 4).T.flatten(), torch.arange(4).repeat_interleave(4)
    by_channel = Member("1", net[1], "in", strided, root)
    weights, of_entry = reading_filters(by_channel)
    assert weights.shape == (16, 5, 1)
    assert torch.equal(of_entry, by_channel.index)


def test_nan_in_a_reader_is_an_error():
    layer = nn.Conv2d(6, 9, 3)
    layer.weight.data[2, 3] = float("nan")
    _, group = reader_of(layer)
    IndependenceImportance()(group)
    with pytest.raises(BadWeights, match="the weight of 1 holds NaN"):
        IndependenceImportance(readers=True)(group)


@pytest.mark.parametrize("kind", sorted(NETS))
@pytest.mark.parametrize("criterion", [CapacityImportance, IndependenceImportance, CapacityIndependenceImportance])
def test_readers_of_every_kind_of_group(criterion, kind):
    net, inputs = NETS[kind]()
    more = 0
    for group in groups_of(net, inputs):
        alone, all_told = criterion()(group), criterion(readers=True)(group)
        assert all_told.shape == (len(group[0].idxs),)
        assert all_told.isfinite().all()
        more += not torch.equal(alone, all_told) if alone is not None else 1
    assert more
