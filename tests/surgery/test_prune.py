"""prune_: all or nothing, certified."""

import copy
import dataclasses

import pytest
import torch
import torch_pruning as tp
from tests.small_nets import NETS, Attention, Residual, image, make

import infoprune as ip
from infoprune.graph import Graph, slicing
from infoprune.graph.slots import Run
from infoprune.surgery import KeepChannels, Plan

L2 = tp.importance.MagnitudeImportance(p=2)


def plan_for(model, keep=0.6):
    return ip.plan(model, image(), L2, budgets=[ip.budgets.macs(keep=keep)], floor=1)


def snapshot(model):
    """Everything that surgery may touch: tensors by value and identity, and every module's attributes."""
    tensors = {n: (id(t), t.detach().clone()) for n, t in slicing.named_tensors(model).items()}
    attributes = {
        n: {k: v for k, v in vars(m).items() if isinstance(v, int | tuple | list)} for n, m in model.named_modules()
    }
    return tensors, copy.deepcopy(attributes)


def assert_untouched(model, before):
    tensors, attributes = before
    now, now_attributes = snapshot(model)
    assert now_attributes == attributes
    assert {n: i for n, (i, _) in now.items()} == {n: i for n, (i, _) in tensors.items()}
    assert all(torch.equal(value, tensors[name][1]) for name, (_, value) in now.items())


@pytest.mark.parametrize("net", NETS)
def test_pruning_gives_the_planned_prices_in_place(net):
    model = make(net)
    plan = plan_for(model)
    assert ip.prune_(model, image(), plan) is model
    measured = ip.measure(model, image())
    assert measured.macs == plan.prices["macs"].after
    assert measured.params == plan.prices["params"].after


def test_the_certificate_is_exact_where_nothing_is_normalised_over_channels():
    model = make(Residual)
    certificate = ip.certificate_of(model, image(), plan_for(model))
    assert certificate.verdict == "exact"
    assert certificate.dtype == "float64"
    assert certificate.difference <= 1e-12


def test_the_certificate_names_the_layer_norm_and_still_compares():
    model = make(Attention)
    certificate = ip.certificate_of(model, image(), plan_for(model, 0.5))
    assert certificate.verdict == "not exact by design"
    assert certificate.statistics == ("layer norm",)
    assert certificate.compared
    assert certificate.difference <= 1e-12


def shifted(plan: Plan, tensor: str) -> Plan:
    """The plan with the units of one tensor's indices rotated by one: a wrong map."""

    def wrong(slot):
        if slot.tensor != tensor or slot.axis != 1:
            return slot
        run = slot.runs[0]
        return dataclasses.replace(slot, runs=(Run(0, 1, run.count - 1), Run(run.count - 1, 0, 1)))

    edits = [
        KeepChannels(dataclasses.replace(e.coupling, slots=tuple(wrong(s) for s in e.coupling.slots)), e.kept)
        for e in plan.edits
    ]
    return dataclasses.replace(plan, edits=tuple(edits))


def test_a_wrong_index_map_fails_the_certificate_and_changes_nothing():
    model = make(Residual)
    plan = shifted(plan_for(model), "two.weight")
    before = snapshot(model)
    with pytest.raises(ip.errors.CertificateFailed, match="does not compute"):
        ip.prune_(model, image(), plan)
    assert_untouched(model, before)


class Interrupted(BaseException):
    pass


@pytest.mark.parametrize("certify", [True, False])
@pytest.mark.parametrize("net", [Residual, Attention])
@pytest.mark.parametrize("function", ["sliced", "_smaller", "replace", "_match_shapes", "_lower"])
def test_an_exception_at_any_step_leaves_the_model_as_it_was(monkeypatch, function, net, certify):
    model = make(net)
    plan = plan_for(model, 0.5)
    original, calls = getattr(slicing, function), []

    def counted(*args):
        calls.append(1)
        return original(*args)

    monkeypatch.setattr(slicing, function, counted)
    ip.prune_(copy.deepcopy(model), image(), plan, certify=certify)
    total = len(calls)
    for fatal in range(1, total + 1):
        model = make(net)
        before, calls[:] = snapshot(model), []

        def failing(*args, fatal=fatal):
            calls.append(1)
            if len(calls) == fatal:
                raise Interrupted
            return original(*args)

        monkeypatch.setattr(slicing, function, failing)
        with pytest.raises(Interrupted):
            ip.prune_(model, image(), plan, certify=certify)
        assert_untouched(model, before)
    assert total > 0 or (function == "_lower" and net is Residual)


def test_a_plan_for_another_model_is_refused():
    plan = plan_for(make(Residual))
    other = make(Attention)
    before = snapshot(other)
    with pytest.raises(ip.errors.StalePlan, match="plan"):
        ip.prune_(other, image(), plan)
    assert_untouched(other, before)


def test_pruning_twice_with_one_plan_is_refused():
    model = make(Residual)
    plan = plan_for(model)
    ip.prune_(model, image(), plan)
    with pytest.raises(ip.errors.StalePlan, match="in the plan"):
        ip.prune_(model, image(), plan)


def test_wrong_example_inputs_are_refused_before_anything_is_touched():
    model = make(Residual)
    plan = plan_for(model)
    before = snapshot(model)
    with pytest.raises(ip.errors.CertificateFailed, match="can't run on example_inputs"):
        ip.prune_(model, torch.randn(1, 7), plan)
    assert_untouched(model, before)


def test_a_plan_must_be_a_plan():
    with pytest.raises(TypeError, match="plan is a dict"):
        ip.prune_(make(Residual), image(), {})


def test_frozen_parameters_stay_frozen_and_gradients_are_cut_alike():
    model = make(Residual)
    model.stem.requires_grad_(False)
    model(image()).sum().backward()
    plan = plan_for(model)
    kept = {e.site.name: list(e.kept) for e in plan.edits}
    gradient = model.one.bias.grad.clone()
    ip.prune_(model, image(), plan)
    assert not model.stem.weight.requires_grad
    torch.testing.assert_close(model.one.bias.grad, gradient[kept["one"]], rtol=0, atol=0)


def test_training_goes_on_while_an_older_graph_is_alive():
    model = make(Residual).train()
    loss = model(image()).sum()
    loss.backward()
    ip.prune_(model, image(), plan_for(model))
    model.zero_grad()
    model(image()).sum().backward()
    assert model.one.weight.grad.shape == model.one.weight.shape
    assert loss.grad_fn is not None


def test_channels_last_stays_channels_last():
    model = make(Residual).to(memory_format=torch.channels_last)
    ip.prune_(model, image(), plan_for(model))
    assert model.one.weight.is_contiguous(memory_format=torch.channels_last)


def test_every_site_is_described_by_its_graph_group_for_any_importance():
    model = make(Residual)
    graph = Graph.trace(model, image())
    group, units = graph.group("one")
    expected = model.one.weight.detach().pow(2).sum((1, 2, 3))
    incoming = model.two.weight.detach().pow(2).sum((0, 2, 3))
    found = tp.importance.MagnitudeImportance(p=2, group_reduction="sum", normalizer=None)(group)
    torch.testing.assert_close(found, expected + incoming)
    assert units.tolist() == list(range(12))
