import copy

import numpy as np
import torch
from torch import nn

import infoprune as ip
from infoprune.budgets.layer_calls import output_elements
from infoprune.graph.slicing import Removal, shrink
from infoprune.graph.slots import gone


def counted(model, inputs):
    """By the plainest of hooks."""
    found = []
    layers = [m for m in model.modules() if isinstance(m, nn.Linear | nn.modules.conv._ConvNd)]
    handles = [m.register_forward_hook(lambda _, __, y: found.append(y.numel())) for m in layers]
    model.eval()(*inputs)
    for handle in handles:
        handle.remove()
    return sum(found)


def test_price_is_what_is_counted_for_any_choice(net):
    model, x = net
    graph = ip.Graph.trace(model, x, verify=False)
    cost = ip.budgets.activations(keep=0.5).cost(graph)
    assert cost([site.size for site in graph.sites]) == counted(model, (x,)) == output_elements(model, (x,))
    generator = np.random.default_rng(0)
    for _ in range(3):
        counts = [int(generator.integers(1, site.size + 1)) for site in graph.sites]
        pruned = copy.deepcopy(model)
        couplings = graph.couplings.values()
        shrink(
            pruned,
            Removal.of(
                (c.slots, c.attributes, gone(c.site.size, range(n))) for c, n in zip(couplings, counts, strict=True)
            ),
        )
        assert cost(counts) == counted(pruned, (x,))


def test_a_plan_keeps_within_it(residual):
    model, x = residual
    plan = ip.plan(model, x, ip.importance.IndependenceImportance(), budgets=[ip.budgets.activations(keep=0.6)])
    before = counted(model, (x,))
    ip.prune_(model, x, plan)
    assert 0.55 * before < counted(model, (x,)) <= 0.6 * before


def test_several_calls_of_a_layer_all_count():
    shared = nn.Conv2d(4, 4, 1)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), shared, nn.ReLU(), shared, nn.Conv2d(4, 2, 1))
    assert output_elements(model, (torch.randn(1, 3, 5, 5),)) == 25 * (4 + 4 + 4 + 2)
