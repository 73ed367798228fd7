"""One budget over tokens, heads, widths and blocks: the price is exact, the plan is one, and it is worth the most."""

import numpy as np
import pytest
import torch
from tests.tokens.small_vits import image_of, vit

import infoprune as ip
from infoprune.depth import removals
from infoprune.errors import Infeasible, Untraceable
from infoprune.planning import Scored, Terms, planned
from infoprune.surgery.blocks import DropBlock
from infoprune.surgery.channels import KeepChannels
from infoprune.surgery.tokens import KeepTokens
from infoprune.tokens.joint import Stages, first_tokens

CI = ip.importance.CapacityIndependenceImportance()
TOKENS = ip.TokenPath(blocks=(1, "blocks.3"))


def made(keep=0.5, **options):
    model = vit(img_size=64)
    return model, planned(
        model, image_of(model, 1), CI, budgets=[ip.budgets.macs(keep=keep)], **{"tokens": TOKENS, **options}
    )


@pytest.fixture(scope="module")
def joint():
    return made()


@pytest.mark.parametrize("unit", ["macs", pytest.param("activations", marks=pytest.mark.slow)])
def test_the_price_of_widths_and_shares_is_what_is_counted(unit):
    """64 patches: 1/2, then 1/4 of these go on, where the shares leave whole tokens."""
    model = vit(img_size=64)
    budget = getattr(ip.budgets, unit)(keep=0.5)
    scored = Scored.of(model, image_of(model, 2), CI, Terms(budgets=[budget]))
    price = Stages.of(scored, TOKENS).price(scored, budget)
    widths = np.array([site.size // 2 if "mlp" in site.name else site.size for site in scored.graph.sites])
    for shares, tokens in (((64, 64), (65, 65)), ((32, 16), (33, 9)), ((16, 64), (17, 17))):
        with first_tokens(model, {"blocks.1": tokens[0], "blocks.3": tokens[1]}):
            counted = scored.retraced().price(budget)(widths)
        assert price([*widths, *shares]) == counted


def test_one_plan_of_tokens_and_channels_meets_the_budget(joint):
    found = joint[1]
    kinds = {type(edit) for edit in found.plan.edits}
    assert kinds == {KeepChannels, KeepTokens}
    assert "patch_embed.proj" in found.plan.widths
    price = found.plan.prices["macs"]
    assert 0.48 * price.before < price.after <= 0.5 * price.before
    assert ip.Plan.from_json(found.plan.to_json()) == found.plan


def test_that_plan_is_certified_counted_saved_and_loaded(joint, tmp_path):
    model, found = joint
    image = image_of(model)
    certificate = ip.certificate_of(model, image, found.plan)
    assert certificate.verdict == "not exact by design"
    assert certificate.difference < 1e-9 * certificate.scale
    pruned = ip.prune_(vit(img_size=64), image, found.plan, certify=False)
    measured = ip.measure(pruned, image[:1])
    assert (measured.macs, measured.params) == tuple(found.plan.prices[unit].after for unit in ("macs", "params"))
    ip.save(tmp_path / "thin", pruned, found.plan)
    with torch.no_grad():
        assert torch.equal(ip.load(tmp_path / "thin", factory=lambda: vit(img_size=64))(image), pruned(image))


def test_planning_leaves_no_hook(joint):
    model = joint[0]
    assert not any(block._forward_pre_hooks or "keep_tokens" in block._modules for block in model.blocks)


def test_all_axes_together_are_worth_more_than_widths_alone(joint):
    together, widths = joint[1], made(tokens=None)[1]
    assert together.allocation.value + together.token_utility > widths.allocation.value
    assert together.token_utility < 0


def test_blocks_leave_too():
    model = vit(img_size=64)
    energies = {edit.unit.name: 1.0 + i for i, edit in enumerate(removals(model, image_of(model, 1)))}
    plan = ip.plan(
        model, image_of(model, 1), CI, budgets=[ip.budgets.macs(keep=0.2)], tokens=TOKENS,
        depth=ip.DepthPath(energies, depths=[6]),
    )  # fmt: skip
    assert {type(edit) for edit in plan.edits} == {KeepChannels, KeepTokens, DropBlock}
    assert plan.prices["macs"].keep <= 0.2
    image = image_of(model)
    certificate = ip.certificate_of(model, image, plan)
    assert certificate.difference < 1e-9 * certificate.scale
    assert ip.measure(ip.prune_(model, image, plan), image[:1]).macs == plan.prices["macs"].after


def test_a_token_that_is_fused_is_paid_for():
    model, found = made(tokens=ip.TokenPath(blocks=(1, 2), fuse=True))
    assert found.plan.prices["macs"].keep <= 0.5
    assert all(edit.fuse for edit in found.plan.edits if isinstance(edit, KeepTokens))
    assert ip.certificate_of(model, image_of(model), found.plan).compared


def test_what_tokens_do_not_share_is_refused():
    model = vit()
    image = image_of(model, 1)
    with pytest.raises(ValueError, match="not of latency_us"):
        ip.plan(model, image, CI, budgets=[ip.budgets.latency(keep=0.5)], tokens=TOKENS)
    with pytest.raises(ValueError, match="tokens need budgets"):
        ip.plan(model, image, CI, rates=0.5, tokens=TOKENS)
    with pytest.raises(Infeasible, match="cheapest reachable"):
        ip.plan(model, image, CI, budgets=[ip.budgets.macs(keep=0.001)], tokens=TOKENS)
    with pytest.raises(Untraceable, match="known: timm"):
        ip.plan(torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(8, 3, 3)), image, CI,
                budgets=[ip.budgets.macs(keep=0.5)], tokens=TOKENS)  # fmt: skip


def test_images_of_another_size_than_the_model_was_built_for_are_refused():
    model = vit(dynamic_img_size=True)
    with pytest.raises(ValueError, match="16; give images of 32 x 32"):
        ip.plan(model, torch.rand(1, 3, 48, 32), CI, budgets=[ip.budgets.macs(keep=0.5)], tokens=TOKENS)
