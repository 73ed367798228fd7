"""Weights from the losses of readers: the fit by hand, the order of sites, and what is refused."""

import numpy as np
import pytest
import torch
from torch import nn

import infoprune as ip
from infoprune.importance import ConditionalImportance


def network():
    """Four of the second site's channels tell all others; nothing tells those of the first site."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(10, 10), nn.Linear(10, 20), nn.Linear(20, 5)).eval()
    with torch.no_grad():
        model[0].weight.copy_(torch.linalg.qr(torch.randn(10, 10))[0])
        model[1].weight[4:] = torch.randn(16, 4) @ model[1].weight[:4]
    return model


def importance(model):
    torch.manual_seed(1)
    loader = [torch.randn(128, 10) for _ in range(4)]
    return ConditionalImportance(ip.observe(model, loader, moments=True, progress=False))


def test_a_weight_is_the_fit_of_the_losses_at_a_fifth_and_two_fifths():
    model = network()
    ranking, x = importance(model), torch.zeros(2, 10)
    lost = ranking.losses(model, x)["0"]
    shape = np.array([4.0, 1.5])  # 1/a - 1
    expected = (lost[[2, 4]] * shape).sum() / (shape**2).sum()
    graph = ip.Graph.trace(model, x)
    assert ip.layerwise.losses(ranking, trust=1.0)(graph)["0"] == pytest.approx(expected, rel=1e-12)
    assert ip.layerwise.losses(ranking)(graph)["0"] == pytest.approx(expected**0.5, rel=1e-12)  # one layer writes
    assert ip.layerwise.losses(ranking, trust=0.0)(graph) == ip.layerwise.uniform()(graph)


def test_units_that_others_make_up_for_leave_before_those_that_nothing_tells():
    model, x = network(), torch.zeros(2, 10)
    ranking = importance(model)
    terms = {"layer_importance": ip.layerwise.losses(ranking), "budgets": [ip.budgets.macs(keep=0.5)]}
    told, even = (ip.plan(model, x, ranking, **each).widths for each in (terms, {"budgets": terms["budgets"]}))
    assert told["1"] < even["1"]
    assert told.get("0", 10) > even["0"]  # an edit names what leaves


def test_a_site_that_no_observed_layer_reads_weighs_as_the_mean_of_the_others():
    class Read(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.last = network(), nn.Linear(5, 3)

        def forward(self, x):
            return nn.functional.linear(self.body(x), self.last.weight)

    model, x = Read().eval(), torch.zeros(2, 10)
    found = ip.layerwise.losses(importance(model), trust=1.0)(ip.Graph.trace(model, x))
    assert found["body.2"] == pytest.approx((found["body.0"] + found["body.1"]) / 2, rel=1e-12)


def test_an_importance_that_knows_no_losses_is_refused():
    with pytest.raises(TypeError, match=r"CapacityImportance does not tell.*ConditionalImportance\(seen\)"):
        ip.layerwise.losses(ip.importance.CapacityImportance())
    with pytest.raises(ValueError, match="trust is 2"):
        ip.layerwise.losses(importance(network()), trust=2)
