"""Features that leave for good: what is left computes what the certificate says, with fewer MACs and fewer bits."""

import pytest
import torch
from tests.small_nets import Concatenated, Dense, Depthwise, Residual, features_at, image, make

import infoprune as ip
from infoprune.split.removal import plan_without
from infoprune.surgery import Plan, SendFeatures
from infoprune.wire import Selection, encode


def test_where_features_are_filters_leaving_equals_zero_on_arrival():
    x, unneeded = image(), [1, 2, 7, 11]
    sending, pruned = make(Residual), make(Residual)
    sent = [i for i in range(12) if i not in unneeded]
    ip.prune_(sending, x, Plan((SendFeatures("one", Selection.hard(12, sent)),)))
    plan = plan_without(pruned, x, at="one", unneeded=unneeded)
    ip.prune_(pruned, x, plan)
    with torch.no_grad():
        torch.testing.assert_close(pruned(x), sending(x))
    assert plan.made_by["features"] == sent
    torch.testing.assert_close(features_at(pruned, "one", x), features_at(sending, "one", x)[:, sent])


@pytest.mark.parametrize(
    ("net", "at", "unneeded"), [(Residual, "bn", [0, 5]), (Dense, "two", [3]), (Depthwise, "depth", range(6))]
)
def test_fewer_features_are_fewer_macs_and_fewer_bits(net, at, unneeded):
    model, x = make(net), image()
    before = features_at(model, at, x)
    plan = plan_without(model, x, at=at, unneeded=unneeded)
    assert Plan.from_json(plan.to_json()) == plan
    assert ip.measure(model, x).macs == plan.prices["macs"].before
    ip.prune_(model, x, plan)
    after = features_at(model, at, x)
    assert ip.measure(model, x).macs == plan.prices["macs"].after < plan.prices["macs"].before
    assert after.shape[1] == before.shape[1] - len(unneeded) == len(plan.made_by["features"])
    lengths = [len(encode(f, Selection.hard(f.shape[1], range(f.shape[1])))) for f in (before, after)]
    assert lengths[1] < lengths[0]


def test_concatenated_features_leave_the_layers_that_made_them():
    model, x = make(Concatenated), image()
    unneeded = [0, 1, 9, 12, 14, 19]  # two of the stem, two of `one`, two of `two`
    plan = plan_without(model, x, at="exit", unneeded=unneeded)
    ip.prune_(model, x, plan)
    assert (model.stem.out_channels, model.one.out_channels, model.two.out_channels) == (6, 4, 4)
    assert features_at(model, "exit", x).shape[1] == 14
    assert plan.made_by["features"] == [i for i in range(20) if i not in unneeded]


def test_a_layer_that_nobody_needs_keeps_one_channel():
    model, x = make(Concatenated), image()
    plan = plan_without(model, x, at="exit", unneeded=range(8, 14))
    ip.prune_(model, x, plan)
    assert model.one.out_channels == 1
    assert plan.made_by["features"] == [*range(9), *range(14, 20)]


def test_features_that_cannot_leave_stay():
    model, x = make(Residual), image()
    plan = plan_without(model, x, at="head", unneeded=[0, 1])
    assert plan.edits == ()
    assert plan.made_by["features"] == list(range(5))


@pytest.mark.parametrize(("unneeded", "complaint"), [([12], "names feature 12"), (range(12), "keep at least one")])
def test_what_makes_no_sense_is_refused(unneeded, complaint):
    with pytest.raises(ValueError, match=complaint):
        plan_without(make(Residual), image(), at="one", unneeded=unneeded)
