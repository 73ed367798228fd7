"""Tang et al., "Filter pruning based on information capacity and independence": equations 1 to 7, as printed."""

import copy

import pytest
import torch
from tests.importance import reference_capacity as paper

import infoprune as ip
from infoprune.estimators.entropy import kernel_distance_entropy

LAYERS = [f"blocks.{i}.conv1" for i in range(4)]  # within the blocks: no other layer has a say in their filters
RATE = 0.5


def kernels_of(model, layer):
    return model.get_submodule(layer).weight.detach().flatten(2)


@pytest.mark.parametrize("nearest", [None, 3])
def test_equations_1_to_4_are_the_entropy_of_a_filter(model, nearest):
    for layer in LAYERS:
        filters = kernels_of(model, layer)
        printed = torch.tensor([paper.entropy(f, nearest) for f in filters])
        torch.testing.assert_close(kernel_distance_entropy(filters, nearest=nearest), printed, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("importance", "printed"),
    [
        (ip.importance.CapacityImportance(), paper.capacity),  # eq. 5
        (ip.importance.IndependenceImportance(), paper.independence),  # eq. 6
        (ip.importance.CapacityIndependenceImportance(sigma=0.8), lambda f: paper.mix(f, 0.8)),  # eq. 7
        (ip.importance.CapacityIndependenceImportance(sigma=0.2), lambda f: paper.mix(f, 0.2)),
        (ip.importance.MostImportantFirstImportance(sigma=0.8), lambda f: -paper.mix(f, 0.8)),  # table VIII
    ],
)
def test_the_filters_of_highest_importance_stay_in_every_layer(model, pictures, importance, printed):
    x = pictures[0][:2]
    plan = ip.plan(model, x, importance, rates=RATE)
    pruned = ip.prune_(copy.deepcopy(model), x, plan)
    for layer in LAYERS:
        filters = kernels_of(model, layer)
        kept = printed(filters).topk(len(filters) // 2).indices.sort().values
        stream = torch.isin(filters.flatten(1), kernels_of(pruned, layer)).any(
            1
        )  # some of their weights are still there
        assert stream.nonzero().flatten().tolist() == kept.tolist()
