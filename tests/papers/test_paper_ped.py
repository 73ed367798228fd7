"""Pruning with energy dependence: equations 1 to 4, definition 2 and one stage of Algorithm 1, as printed."""

import copy
import itertools

import pytest
import torch
from tests.estimators import reference_energy as paper
from tests.estimators.reference_kmeans import sum_of_squares

import infoprune as ip
from infoprune.estimators import energy


def branch_outputs(model, x):
    found = {}
    handles = [
        block.bn2.register_forward_hook(lambda _, __, out, i=i: found.update({f"blocks.{i}": out.flatten(1).double()}))
        for i, block in enumerate(model.blocks)
    ]
    with torch.no_grad():
        model(x)
    for handle in handles:
        handle.remove()
    return found


def test_definition_2_is_the_energy_of_every_unit(model, pictures):
    """T_l are the branch's feature maps; the largest of eq. 4 over all pairs of classes."""
    x, labels = pictures[0][:20], pictures[1][:20] % 3
    seen = ip.unit_energies(model, [(x, labels)], x[:1], width=float("inf"))
    for unit, maps in branch_outputs(model, x).items():
        assert seen[unit][0] == pytest.approx(float(paper.dependence_definition_2(maps, labels)), rel=1e-4)


def test_equation_4_is_the_energy_of_two_classes():
    x, y = torch.randn(5, 7).double(), torch.randn(4, 7).double() + 1
    torch.testing.assert_close(energy.energy_distance(x, y), paper.energy_eq_4(x, y))


@pytest.mark.parametrize("clusters", [2, 3])
@pytest.mark.parametrize("strategy", ["clusters", "centroids"])
def test_a_stage_of_algorithm_1_keeps_the_head_of_every_cluster(model, pictures, clusters, strategy):
    """Clust() as the best of all ways to cut the line; heads as in the text (largest) or the algorithm (centroid)."""
    x, labels = pictures
    seen = ip.unit_energies(model, [(x, labels)], x[:1])
    ordered = sorted(seen, key=lambda unit: seen[unit][0])
    values = [seen[unit][0] for unit in ordered]
    cuts = [(0, *c, len(values)) for c in itertools.combinations(range(1, len(values)), clusters - 1)]
    best = min(cuts, key=lambda c: sum(sum_of_squares(values[a:b]) for a, b in itertools.pairwise(c)))
    heads = set()
    for a, b in itertools.pairwise(best):
        centre = sum(values[a:b]) / (b - a)
        place = b - 1 if strategy == "clusters" else min(range(a, b), key=lambda i: abs(values[i] - centre))
        heads.add(ordered[place])
    plan = ip.plan_depth(model, x[:1], seen, clusters=clusters, strategy=strategy)
    assert set(plan.made_by["stay"]) == heads


def test_equation_1_with_alpha_zero_is_the_network_without_the_unit(model, pictures):
    """U_l = alpha T_l + A U_{l-1}."""
    x = pictures[0][:4]
    seen = ip.unit_energies(model, [pictures], x[:1])
    plan = ip.plan_depth(model, x[:1], seen, keep_units=2)
    zeroed = copy.deepcopy(model)
    for unit in set(seen) - set(plan.made_by["stay"]):
        zeroed.get_submodule(unit).bn2.register_forward_hook(lambda _, __, out: 0 * out)
    with torch.no_grad():
        torch.testing.assert_close(ip.prune_(copy.deepcopy(model), x[:1], plan)(x), zeroed(x), rtol=0, atol=1e-5)
