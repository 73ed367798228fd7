"""plan(tied=...): one width in all blocks, by role or by glob; on the command line and in recipes too."""

import json

import pytest
import timm
import torch
import torch_pruning as tp

import infoprune as ip
from infoprune.cli import main
from infoprune.errors import BadRecipe, UnknownName
from infoprune.recipe import recipe_of
from tests.tokens.small_vits import vit as small_vit

L2 = tp.importance.MagnitudeImportance(p=2)
HALF = [ip.budgets.macs(keep=0.5)]


def vit():
    torch.manual_seed(0)
    settings = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 3, "num_heads": 4, "num_classes": 5}
    model = timm.models.vision_transformer.VisionTransformer(**settings).eval()
    with torch.no_grad():  # blocks that weigh differently
        for number, block in enumerate(model.blocks):
            block.mlp.fc1.weight.mul_(1 + number)
    return model


def swin():
    torch.manual_seed(0)
    sizes = {"img_size": 32, "patch_size": 2, "embed_dim": 12, "depths": (1, 1), "num_heads": (3, 3), "window_size": 4}
    return timm.models.swin_transformer.SwinTransformer(**sizes, num_classes=5).eval()


def widths(plan, part):
    return {name: width for name, width in plan.widths.items() if part in name}


def weighed(graph):
    """Later blocks count for more."""
    return {site.name: 1.0 + sum(int(part) for part in site.name.split(".") if part.isdigit()) for site in graph.sites}


def test_sites_of_one_role_keep_one_width_within_the_budget():
    model, x = vit(), torch.rand(1, 3, 32, 32)
    free, tied = (ip.plan(model, x, L2, **INSIDE, tied=tied) for tied in (False, True))
    assert len(set(widths(free, "mlp").values())) > 1
    for part in ("mlp", "attn"):
        assert len(widths(tied, part)) == 3
        assert len(set(widths(tied, part).values())) == 1
    assert tied.prices["macs"].after <= tied.prices["macs"].before // 2
    assert tied.made_by["value"] <= free.made_by["bound"]
    kept = [edit.kept for edit in tied.edits if "mlp" in edit.site.name]
    assert len(set(kept)) == 3, "each block keeps units of its own"
    assert ip.certificate_of(model, x, tied).compared


def test_a_glob_ties_what_it_means_and_a_list_of_globs_is_one_tie():
    model, x = vit(), torch.rand(1, 3, 32, 32)
    one = ip.plan(model, x, L2, **INSIDE, tied=["*.mlp.fc1"])
    assert len(set(widths(one, "mlp").values())) == 1
    some = ip.plan(model, x, L2, **INSIDE, tied=[("blocks.0.mlp", "blocks.1.mlp")])
    assert some.widths["blocks.0.mlp.fc1"] == some.widths["blocks.1.mlp.fc1"] != some.widths["blocks.2.mlp.fc1"]
    assert ip.Plan.from_json(some.to_json()).made_by["tied"] == ["blocks.0.mlp, blocks.1.mlp"]


def test_stages_of_different_widths_keep_one_share():
    plan = ip.plan(swin(), torch.rand(1, 3, 32, 32), L2, budgets=HALF, tied=["*.mlp.fc1"])
    small, large = widths(plan, "mlp").values()
    assert large == 2 * small


def test_rounding_holds_for_every_site_of_a_tie():
    plan = ip.plan(swin(), torch.rand(1, 3, 32, 32), L2, budgets=HALF, tied=["*.mlp.fc1"], round_to=8)
    small, large = widths(plan, "mlp").values()
    assert (small % 8, large) == (0, 2 * small)


INSIDE = {"layer_importance": weighed, "budgets": HALF, "ignored_layers": ["patch_embed.proj"]}


@pytest.mark.parametrize(
    ("tied", "error", "told"),
    [
        ("*.mlp.fc1", TypeError, "give a list"),
        (3, TypeError, "give True for every role"),
        ([3], TypeError, "tied holds 3"),
        (["*.mlp.fc9"], UnknownName, "means no site"),
        (["*.mlp.fc1", "blocks.0"], ValueError, "means blocks.0.mlp.fc1 twice"),
    ],
)
def test_what_ties_nothing_is_refused(tied, error, told):
    with pytest.raises(error, match=told):
        ip.plan(vit(), torch.rand(1, 3, 32, 32), L2, budgets=HALF, tied=tied)
    with pytest.raises(ValueError, match="tied is for budgets"):
        ip.plan(vit(), torch.rand(1, 3, 32, 32), L2, rates=0.5, tied=True)


def test_tokens_share_a_budget_with_tied_widths():
    model, x = small_vit(), torch.rand(2, 3, 32, 32)
    plan = ip.plan(model, x, L2, budgets=HALF, tied=True, tokens=ip.TokenPath())
    assert len(set(widths(plan, "mlp.fc1").values())) == 1


def test_the_command_line_and_recipes_tie_too(capsys):
    words = ["plan", "vit_tiny_patch16_224", "--input", "1x3x224x224", "--macs", "0.6", "--importance", "l2", "--json"]
    assert main([*words, "--tied", "*.mlp.fc1"]) == 0
    edits = json.loads(capsys.readouterr().out)["edits"]
    kept = [len(edit["kept"]) for edit in edits if "mlp.fc1" in edit["site"]]
    assert (len(kept), len(set(kept))) == (12, 1)


def test_a_recipe_says_what_is_tied():
    def told(**budget):
        return recipe_of(
            {"schema": 1, "model": {"name": "resnet20_cifar"}, "data": {"name": "digits"}, "budget": budget}
        ).budget

    assert told(macs=0.5, tied=True).tied is True
    assert told(macs=0.5, tied=["layer1.*.conv1"]).tied == ("layer1.*.conv1",)
    with pytest.raises(BadRecipe, match=r"budget\.tied is True"):
        told(rates=0.5, tied=True)
