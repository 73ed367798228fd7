"""From keep ratios and budgets to counts, and what is said about schedules that make no sense."""

import pytest
import timm
import torch
from tests.tokens.small_vits import vit

import infoprune as ip
import infoprune.tokens
from infoprune.errors import Infeasible, InfopruneError, UnknownName, Untraceable


def counts(plan):
    return [(edit.block, edit.arriving, edit.kept) for edit in plan.edits]


def test_a_stage_keeps_a_share_of_what_arrives_rounded_up():
    plan = infoprune.tokens.plan(vit(), schedule={3: 0.5, "blocks.1": 0.7})
    assert counts(plan) == [("blocks.1", 16, 12), ("blocks.3", 12, 6)]


def test_keeping_everything_changes_nothing():
    model = vit()
    assert infoprune.tokens.plan(model, schedule={1: 1.0}).edits == ()
    assert not infoprune.tokens.sparsify_(model, schedule={1: 1}).blocks[1]._forward_pre_hooks


def test_images_that_are_not_square_are_counted_as_they_are():
    assert counts(infoprune.tokens.plan(vit(img_size=(32, 64)), schedule={1: 0.5})) == [("blocks.1", 32, 16)]


@pytest.mark.parametrize("keep", [0, -0.1, 1.01, 2, float("nan"), True, "half", None])
def test_keep_ratios_outside_their_range_are_refused(keep):
    with pytest.raises(ValueError, match=r"blocks\.1: keep is"):
        infoprune.tokens.sparsify_(vit(), schedule={1: keep})


@pytest.mark.parametrize("block", [4, -1, 99, "blocks.7", "head", 1.0, True])
def test_unknown_blocks_are_refused(block):
    with pytest.raises(UnknownName, match="the model does not have"):
        infoprune.tokens.sparsify_(vit(), schedule={block: 0.5})


def test_less_than_one_token_is_refused():
    with pytest.raises(ValueError, match="less than one token"):
        infoprune.tokens.sparsify_(vit(), schedule={1: 0.1, 2: 0.1})


@pytest.mark.parametrize("schedule", [{}, [3, 6], 0.7])
def test_schedules_of_another_form_are_refused(schedule):
    with pytest.raises(ValueError, match="block -> keep ratio"):
        infoprune.tokens.sparsify_(vit(), schedule=schedule)


def test_a_block_named_twice_is_refused():
    with pytest.raises(ValueError, match="twice"):
        infoprune.tokens.sparsify_(vit(), schedule={1: 0.5, "blocks.1": 0.5})


def test_one_of_schedule_and_budget_is_needed():
    for given in ({}, {"schedule": {1: 0.5}, "budget": ip.budgets.macs(keep=0.5)}):
        with pytest.raises(ValueError, match="one of them"):
            infoprune.tokens.sparsify_(vit(), **given)


def test_unknown_scores_name_the_nearest():
    with pytest.raises(UnknownName, match="'capacity'"):
        infoprune.tokens.sparsify_(vit(), schedule={1: 0.5}, score="capacty")


def test_class_attention_needs_a_class_token():
    with pytest.raises(ValueError, match="class token"):
        infoprune.tokens.sparsify_(
            vit(class_token=False, global_pool="avg"), schedule={1: 0.5}, score="class_attention"
        )


@pytest.mark.parametrize(
    "model", [torch.nn.Linear(2, 2), timm.create_model("test_resnet"), torch.nn.Sequential(vit(), vit())]
)
def test_models_that_are_no_single_vision_transformer_are_refused(model):
    with pytest.raises(Untraceable, match="known: timm"):
        infoprune.tokens.sparsify_(model, schedule={1: 0.5})


def test_errors_leave_the_model_as_it_was():
    model = vit()
    for bad in ({9: 0.5}, {1: 0.0}, {1: 0.05, 2: 0.05}):
        with pytest.raises((InfopruneError, ValueError)):
            infoprune.tokens.sparsify_(model, schedule=bad)
    assert not any(block._forward_pre_hooks or "keep_tokens" in block._modules for block in model.blocks)


# --------------------------------------------------------------------------------------------------- with a budget


@pytest.mark.parametrize("make", [lambda: vit(img_size=96), lambda: vit(img_size=(64, 96), global_pool="map")])
@pytest.mark.parametrize("keep", [0.9, 0.6])
def test_a_budget_is_met_and_used(make, keep):
    price = infoprune.tokens.plan(make(), budget=ip.budgets.macs(keep=keep)).prices["macs"]
    assert price.after <= keep * price.before
    assert price.after >= (keep - 0.08) * price.before


def test_a_larger_budget_never_keeps_fewer_tokens():
    plans = [infoprune.tokens.plan(vit(img_size=96), budget=ip.budgets.macs(keep=keep)) for keep in (0.6, 0.7, 0.8)]
    kept = [plan.edits[-1].kept for plan in plans]
    assert kept == sorted(kept)


def test_unreachable_budgets_name_the_cheapest_price():
    with pytest.raises(Infeasible, match="cheapest reachable"):
        infoprune.tokens.plan(vit(), budget=ip.budgets.macs(keep=0.05))


def test_budgets_in_other_units_are_refused():
    for budget in (ip.budgets.params(keep=0.5), "half"):
        with pytest.raises((ValueError, TypeError)):
            infoprune.tokens.plan(vit(), budget=budget)


# ------------------------------------------------------------------------------------------- the published numbers


def test_lv_vit_small_has_its_published_size():
    from infoprune.models import lv_vit_small

    found = ip.measure(lv_vit_small(), torch.zeros(1, 3, 224, 224))
    assert abs(found.params / 26.2e6 - 1) < 0.01
    assert abs(found.macs / 6.57e9 - 1) < 0.01


@pytest.mark.parametrize(
    ("name", "schedule", "published"),
    [("deit_small", {3: 0.72, 6: 0.72, 9: 0.72}, 2.98e9), ("lv_vit_small", {4: 0.52, 8: 0.52, 12: 0.52}, 3.80e9)],
)
def test_schedules_reach_the_papers_macs(name, schedule, published):
    from infoprune.models import lv_vit_small

    model = lv_vit_small() if name == "lv_vit_small" else timm.create_model("deit_small_patch16_224")
    assert abs(infoprune.tokens.plan(model, schedule=schedule).prices["macs"].after / published - 1) < 0.01


def test_seven_tenths_thrice_is_the_papers_reduction_of_deit_small():
    price = infoprune.tokens.plan(timm.create_model("deit_small_patch16_224"), schedule={3: 0.7, 6: 0.7, 9: 0.7}).prices
    assert abs(price["macs"].keep - (1 - 0.373)) < 0.01
