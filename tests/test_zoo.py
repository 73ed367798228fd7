"""A cross-section of benchmarks/zoo.txt; the whole list is run by benchmarks/zoo_coverage.py."""

import pytest
import timm
import torch
import torch_pruning as tp

import infoprune as ip

SECTION = ("resnet18", "convnext_atto")
LARGER = [
    pytest.param(name, marks=pytest.mark.slow)
    for name in ("mobilenetv3_small_100", "regnety_002", "ghostnet_050", "crossvit_tiny_240")
]


@pytest.mark.parametrize("name", [*SECTION, *LARGER])
def test_half_the_macs_as_predicted(name):
    torch.manual_seed(0)
    model = timm.create_model(name).eval()
    x = torch.randn(1, *(model.pretrained_cfg["input_size"] if "vit" in name else (3, 64, 64)))
    plan = ip.plan(model, x, tp.importance.MagnitudeImportance(p=2), budgets=[ip.budgets.macs(keep=0.5)])
    ip.prune_(model, x, plan)
    after = ip.measure(model, x)
    assert 0.47 <= after.macs / plan.prices["macs"].before <= 0.5
    assert (after.macs, after.params) == (plan.prices["macs"].after, plan.prices["params"].after)
    with torch.no_grad():
        assert torch.isfinite(model(x)).all()


def test_a_model_that_cannot_reach_the_budget_is_refused_untouched():
    torch.manual_seed(0)
    model = timm.create_model("mobilenetv3_small_050").eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(ip.errors.Infeasible, match="cheapest reachable price"):
        ip.plan(
            model,
            torch.randn(1, 3, 224, 224),
            ip.importance.IndependenceImportance(),
            budgets=[ip.budgets.macs(keep=0.001)],
        )
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
