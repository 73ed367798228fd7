"""rebuild_optimizer: training goes on with the state of what stayed."""

import pytest
import torch
import torch_pruning as tp
from tests.small_nets import Attention, Residual, image, make

import infoprune as ip

MAKERS = {
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "adamw": lambda p: torch.optim.AdamW(p, lr=1e-2),
    "amsgrad": lambda p: torch.optim.Adam(p, lr=1e-2, amsgrad=True),
}


def train(model, optimizer, steps=2):
    for _ in range(steps):
        optimizer.zero_grad()
        model(image()).square().mean().backward()
        optimizer.step()


def half(model):
    return ip.plan(model, image(), tp.importance.MagnitudeImportance(p=2), budgets=[ip.budgets.macs(keep=0.5)])


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("net", [Residual, Attention])
def test_the_step_after_surgery_is_the_masked_originals_step(net, name):
    """Buffers are cut like their parameters: a kept weight moves as it would have with the same gradient."""
    model = make(net)
    optimizer = MAKERS[name](model.parameters())
    train(model, optimizer)
    before = {n: {k: v.clone() for k, v in optimizer.state[p].items() if v.dim()} for n, p in model.named_parameters()}
    plan = half(model)
    ip.prune_(model, image(), plan)
    assert ip.rebuild_optimizer(optimizer, plan, model) is optimizer
    kept = {e.site.name: list(e.kept) for e in plan.edits}
    site, weight = ("one", "one.bias") if net is Residual else ("stem", "stem.bias")
    state = optimizer.state[model.get_parameter(weight)]
    for key, buffer in before[weight].items():
        torch.testing.assert_close(state[key], buffer[kept[site]], rtol=0, atol=0)
    assert len(optimizer.param_groups[0]["params"]) == len(list(model.parameters()))
    train(model, optimizer)


def test_groups_and_learning_rates_stay():
    model = make(Residual)
    optimizer = torch.optim.SGD(
        [{"params": model.stem.parameters(), "lr": 0.5}, {"params": model.head.parameters()}], lr=0.1, momentum=0.9
    )
    train(model, optimizer)
    plan = half(model)
    ip.prune_(model, image(), plan)
    ip.rebuild_optimizer(optimizer, plan, model)
    assert [g["lr"] for g in optimizer.param_groups] == [0.5, 0.1]
    assert optimizer.param_groups[0]["params"][0] is model.stem.weight


def test_rebuilding_twice_does_no_harm():
    model = make(Residual)
    optimizer = MAKERS["momentum"](model.parameters())
    train(model, optimizer)
    plan = half(model)
    ip.prune_(model, image(), plan)
    once = ip.rebuild_optimizer(optimizer, plan, model).state[model.one.weight]["momentum_buffer"].clone()
    again = ip.rebuild_optimizer(optimizer, plan, model).state[model.one.weight]["momentum_buffer"]
    assert torch.equal(once, again)
