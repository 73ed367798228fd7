import numpy as np
import pytest
from tests.small_nets import Concatenated, Residual, features_at, image, make

import infoprune as ip
from infoprune.wire import Selection, Zlib, encode
from infoprune.wire.quantisation import quantise


@pytest.mark.parametrize(
    ("net", "at"), [(Residual, "one"), (Residual, "bn"), (Residual, "norm"), (Concatenated, "exit")]
)
def test_the_price_is_eight_bits_for_every_value_of_the_built_model(net, at):
    model, x = make(net), image()
    graph, budget = ip.Graph.trace(model, x), ip.budgets.bits(keep=0.6, at=at)
    plan = ip.plan(model, x, ip.importance.IndependenceImportance(), budgets=[budget], floor=0.1)
    counts = [plan.widths.get(site.name, site.size) for site in graph.sites]
    cost = budget.cost(graph)
    before = features_at(model, at, x)[0].numel() * 8
    assert cost([site.size for site in graph.sites]) == before
    ip.prune_(model, x, plan)
    assert cost(counts) == features_at(model, at, x)[0].numel() * 8
    assert 0.4 * before < cost(counts) <= 0.6 * before


def test_no_more_than_asked_is_sent_by_a_codec_that_only_shrinks():
    model, x = make(Residual), image(16)
    plan = ip.plan(
        model, x, ip.importance.IndependenceImportance(), budgets=[ip.budgets.bits(at_most=14_000, at="one")]
    )
    ip.prune_(model, x, plan)
    features = features_at(model, "one", x)[0]
    levels = quantise(features)[0].numpy()
    assert levels.nbytes * 8 <= 14_000
    assert len(encode(features, Selection.hard(len(features), range(len(features)), Zlib()))) < levels.nbytes + 400


def test_channels_that_cannot_leave_have_a_fixed_price():
    graph = ip.Graph.trace(make(Residual), image())
    cost = ip.budgets.bits(keep=0.5, at="head").cost(graph)
    assert cost(np.ones(len(graph.sites))) == cost([site.size for site in graph.sites]) == 8 * 5


def test_a_budget_without_a_layer_says_what_it_needs():
    with pytest.raises(ValueError, match="name it, as in bits"):
        ip.plan(make(Residual), image(), ip.importance.IndependenceImportance(), budgets=[ip.budgets.bits(keep=0.5)])


def test_an_unknown_layer_lists_the_known_ones():
    with pytest.raises(ip.errors.UnknownName, match="no layer 'onn'; did you mean 'one'"):
        ip.budgets.bits(keep=0.5, at="onn").cost(ip.Graph.trace(make(Residual), image()))


def test_the_usual_words_are_checked():
    with pytest.raises(ValueError, match="either keep= or at_most="):
        ip.budgets.bits()
