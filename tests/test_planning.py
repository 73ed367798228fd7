"""plan(): budgets, rates, rounding, and what it refuses."""

import math

import pytest
import torch
import torch_pruning as tp

import infoprune as ip
from infoprune.planning import planned
from tests.small_nets import Attention, Dense, Grouped, Residual, image, make

L2 = tp.importance.MagnitudeImportance(p=2)
MACS = ip.budgets.macs(keep=0.5)


def plan(model=None, importance=L2, **options):
    options = {"budgets": [MACS], **options} if "rates" not in options else options
    return ip.plan(make(Residual) if model is None else model, image(), importance, **options)


def test_a_budget_is_used_to_the_last_unit_that_fits():
    made = planned(make(Residual), image(), L2, budgets=[MACS])
    price = made.plan.prices["macs"]
    assert price.after <= price.before // 2
    counts = made.allocation.counts
    cost = made.graph.cost("macs")
    for site in range(len(counts)):
        more = counts.copy()
        more[site] += 1
        assert more[site] > made.graph.sites[site].size or cost(more) > price.before // 2


def test_several_budgets_hold_at_once():
    prices = plan(budgets=[ip.budgets.macs(keep=0.6), ip.budgets.params(at_most=900)]).prices
    assert prices["macs"].keep <= 0.6
    assert prices["params"].after <= 900


def test_one_budget_needs_no_list():
    assert plan(budgets=MACS).widths == plan(budgets=[MACS]).widths


def test_the_best_units_stay():
    model = make(Residual)
    made = planned(model, image(), L2, budgets=[MACS])
    for edit in made.plan.edits:
        scores = made.scores[edit.site.name]
        gone = set(range(edit.site.size)) - set(edit.kept)
        assert min(scores[list(edit.kept)]) >= max(scores[list(gone)])


def test_of_equal_units_those_with_the_smaller_index_go_first():
    made = plan(importance=lambda group: torch.ones(len(group[0].idxs)), rates=0.5)
    assert made.edits[0].kept == (4, 5, 6, 7)


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.5, 0.75])
def test_rates_keep_the_papers_count(rate):
    """Section III.A: ceil((1 - p) n) filters remain."""
    widths = {"stem": 8, "one": 12, **plan(rates=rate).widths}
    assert widths == {"stem": math.ceil((1 - rate) * 8), "one": math.ceil((1 - rate) * 12)}


@pytest.mark.parametrize("round_to", [1, 2])
@pytest.mark.parametrize("rate", [0.1, 0.3, 0.45, 0.5, 0.7, 0.74])
def test_rates_rounded_down_are_the_widths_of_a_stock_pruner(rate, round_to):
    """Beyond 0.75 a multiple of 2 is none of 8 channels: the pruner then leaves the layer whole, and we leave 2."""
    theirs = make(Residual)
    told = {"importance": L2, "pruning_ratio": rate, "round_to": round_to, "ignored_layers": [theirs.head]}
    tp.pruner.BasePruner(theirs, image(), **told).step()
    widths = {"stem": 8, "one": 12, **plan(rates=rate, rounding="down", round_to=round_to).widths}
    assert widths == {"stem": theirs.stem.out_channels, "one": theirs.one.out_channels}


def test_budgets_are_not_rounded():
    with pytest.raises(ValueError, match="'down' with rates"):
        plan(rounding="down")


def test_rates_of_single_sites_leave_the_others_whole():
    assert plan(rates={"one": 0.5}).widths == {"one": 6}


@pytest.mark.parametrize("round_to", [2, 4])
def test_channels_are_kept_in_multiples(round_to):
    assert all(width % round_to == 0 for width in plan(round_to=round_to, floor=1).widths.values())


def test_rounding_counts_channels_where_units_are_wider():
    edits = ip.plan(make(Grouped), image(), L2, budgets=[ip.budgets.macs(keep=0.6)], round_to=4, floor=1).edits
    assert all(edit.keeps * edit.site.step % 4 == 0 for edit in edits)


def test_floors_hold_as_a_fraction_and_as_a_number():
    assert all(
        e.keeps >= math.ceil(0.7 * e.site.size) for e in plan(floor=0.7, budgets=[ip.budgets.macs(keep=0.7)]).edits
    )
    assert all(e.keeps >= 5 for e in plan(floor=5).edits)


def test_weights_decide_who_gives():
    heavy = plan(layer_importance={"stem": 100.0, "one": 1.0}).widths
    light = plan(layer_importance={"stem": 1.0, "one": 100.0}).widths
    assert heavy.get("one", 12) < light.get("one", 12)


def test_planning_touches_nothing():
    model = make(Dense)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    plan(model)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_any_importance_of_the_host_serves():
    for importance in (
        tp.importance.RandomImportance(),
        tp.importance.BNScaleImportance(),
        tp.importance.FPGMImportance(),
    ):
        assert plan(importance=importance).widths


def refuses(error, match, **options):
    model = options.pop("model", None)
    model = make(Residual) if model is None else model
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(error, match=match):
        plan(model, **options)
    assert all(torch.allclose(v, before[k], rtol=0, atol=0, equal_nan=True) for k, v in model.state_dict().items())


def test_nan_weights_are_named():
    model = make(Residual)
    with torch.no_grad():
        model.two.weight[0, 0, 0, 0] = float("nan")
    refuses(ip.errors.BadWeights, "two.weight holds NaN", model=model)


def test_nan_scores_are_named():
    refuses(ip.errors.BadWeights, "importance of stem", importance=lambda g: torch.full((len(g[0].idxs),), torch.nan))


def test_scores_of_the_wrong_length_are_named():
    refuses(ip.InfopruneError, r"shape \(3,\) for the 8 channels of stem", importance=lambda g: torch.ones(3))


def test_a_failing_importance_is_named_with_its_site():
    def broken(group):
        raise IndexError("out of bounds")

    refuses(ip.InfopruneError, "failed on stem .IndexError: out of bounds", importance=broken)


def test_an_importance_that_scores_nothing_is_refused():
    refuses(ip.errors.Untraceable, "scores none of the 2 sites", importance=lambda g: None)


def test_a_model_without_sites_is_refused_with_the_reason():
    refuses(ip.errors.Untraceable, "no site that can be pruned: .*it is an output", model=torch.nn.Conv2d(3, 4, 3))


def test_an_impossible_budget_names_the_cheapest_price_and_meeting_it_works():
    model = make(Residual)
    with pytest.raises(ip.errors.Infeasible, match=r"macs <= .* cheapest reachable price is \d+") as found:
        plan(model, budgets=[ip.budgets.macs(keep=0.001)])
    cheapest = int(str(found.value).split("price is ")[1].split(";")[0])
    assert plan(model, budgets=[ip.budgets.macs(at_most=cheapest)]).prices["macs"].after == cheapest


@pytest.mark.parametrize(
    "wrong", [{"keep": 0}, {"keep": -1}, {"keep": 1.5}, {"at_most": 0}, {"at_most": float("nan")}, {}]
)
def test_meaningless_budgets_are_refused(wrong):
    with pytest.raises(ValueError, match="macs"):
        ip.budgets.macs(**wrong)


@pytest.mark.parametrize(
    ("error", "match", "options"),
    [
        (ValueError, "give budgets", {"budgets": []}),
        (ValueError, "not both", {"rates": 0.5, "budgets": [MACS]}),
        (TypeError, "budgets holds 0.5", {"budgets": [0.5]}),
        (ValueError, "round_to is 0", {"round_to": 0}),
        (ValueError, "floor is 1.5", {"floor": 1.5}),
        (ValueError, "utility", {"utility": 2.0}),
        (TypeError, "importance is 'l2'", {"importance": "l2"}),
        (ip.errors.UnknownName, "did you mean 'one'", {"rates": {"on": 0.5}}),
        (ValueError, "the rate of one is 1.0", {"rates": {"one": 1.0}}),
        (ip.errors.UnknownName, "did you mean 'two'", {"ignored_layers": ["twoo"]}),
        (ip.errors.UnknownName, "no weight for", {"layer_importance": {"stem": 1.0}}),
        (ip.errors.UnknownName, "no solver", {"solver": "magic"}),
    ],
)
def test_bad_options_are_one_clear_error(error, match, options):
    refuses(error, match, **options)


def test_heads_leave_whole():
    widths = ip.plan(make(Attention), image(), L2, rates={"qkv": 0.5}).widths
    assert widths == {"qkv": 1}
