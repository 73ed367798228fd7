"""Which tokens go on, and that the network which drops them is the one that masks them."""

import copy
import json
import math

import pytest
import torch
from tests.tokens.small_vits import FAMILIES, image_of, lv_vit, vit

import infoprune as ip
import infoprune.tokens
from infoprune.depth import removals
from infoprune.errors import BadArtifact, CertificateFailed, StalePlan
from infoprune.families.tokens import token_layout
from infoprune.surgery.tokens import KeepTokens, TokenSelection
from infoprune.tokens.schedule import edits_for

SCHEDULE = {1: 0.7, 2: 0.6, 3: 0.5}


def planned(model, score="capacity_independence", *, fuse=False, keep=None):
    """The edits alone, without prices."""
    layout = token_layout(model)
    keep = {layout.blocks[i]: share for i, share in (keep or SCHEDULE).items()}
    return ip.Plan(tuple(edits_for(keep, layout, score=score, fuse=fuse)))


@pytest.mark.parametrize("fuse", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_dropping_tokens_is_masking_them_out_as_keys(family, fuse):
    model = FAMILIES[family]()
    certificate = ip.certificate_of(model, image_of(model), planned(model, fuse=fuse))
    assert certificate.verdict == "exact"
    assert certificate.difference < 1e-9 * certificate.scale


@pytest.mark.parametrize("score", sorted(infoprune.tokens.scores))
def test_that_holds_for_every_score(score):
    model = vit(reg_tokens=2)
    certificate = ip.certificate_of(model, image_of(model), planned(model, score, fuse=True))
    assert certificate.verdict == "exact"


@pytest.mark.parametrize("family", FAMILIES)
def test_planned_prices_are_counted_on_the_built_model(family):
    model = FAMILIES[family]()
    plan = infoprune.tokens.plan(model, schedule=SCHEDULE, fuse=family == "vit")
    image = image_of(model, batch=1)
    assert ip.measure(model, image).macs == plan.prices["macs"].before
    built = ip.measure(ip.prune_(model, image, plan, certify=False), image)
    assert (built.macs, built.params) == (plan.prices["macs"].after, plan.prices["params"].after)


def test_kept_tokens_go_on_in_their_order_behind_the_prefix():
    x = torch.randn(3, 12, 6)
    selection = TokenSelection(10, 4, prefix=2, score="l2", kernels=2, fuse=False)
    out = selection(x, vit().blocks[0])
    torch.testing.assert_close(out[:, :2], x[:, :2])
    for image, kept in zip(x, out, strict=True):
        largest = sorted(image[2:].norm(dim=-1).topk(4).indices.tolist())
        torch.testing.assert_close(kept[2:], image[2:][largest])


def test_fusing_adds_the_mean_of_those_that_leave():
    x = torch.randn(3, 12, 6)
    selection = TokenSelection(10, 4, prefix=2, score="l2", kernels=2, fuse=True)
    out = selection(x, vit().blocks[0])
    assert out.shape == (3, 7, 6)
    for image, kept in zip(x, out, strict=True):
        smallest = image[2:].norm(dim=-1).topk(6, largest=False).indices
        torch.testing.assert_close(kept[-1], image[2:][smallest].mean(0))


def test_gradients_reach_the_kept_tokens_and_no_others():
    x = torch.randn(1, 12, 6, requires_grad=True)
    TokenSelection(10, 4, prefix=2, score="capacity_independence", kernels=2, fuse=False)(
        x, vit().blocks[0]
    ).sum().backward()
    assert x.grad.abs().sum(-1).count_nonzero() == 6


def test_names_and_tensors_stay_put():
    model, state = vit(), list(vit().state_dict())
    infoprune.tokens.sparsify_(model, schedule=SCHEDULE)
    assert list(model.state_dict()) == state
    assert type(model.blocks[1]) is type(vit().blocks[1])
    assert len(model.blocks) == 4


def test_copies_drop_the_same_tokens():
    model = thinned()
    image = image_of(model)
    with torch.no_grad():
        assert torch.equal(copy.deepcopy(model)(image), model(image))


def test_images_of_another_size_keep_the_same_share():
    model = infoprune.tokens.sparsify_(vit(dynamic_img_size=True), schedule={1: 0.5, 2: 0.5})
    seen = []
    model.blocks[2].register_forward_hook(lambda _, args, __: seen.append(args[0].shape[1]))
    for side in (32, 48, 64):
        model(torch.randn(2, 3, side, side + 16))
    places = [(side // 8) * (side // 8 + 2) for side in (32, 48, 64)]
    assert seen == [1 + math.ceil(math.ceil(n / 2) / 2) for n in places]


def test_a_transformer_inside_another_model_is_found():
    model = torch.nn.Sequential(torch.nn.Identity(), vit())
    infoprune.tokens.sparsify_(model, schedule=SCHEDULE)
    assert model[1].blocks[1].keep_tokens.kept == 12
    plan = infoprune.tokens.plan(torch.nn.Sequential(torch.nn.Identity(), vit()), schedule=SCHEDULE)
    assert [edit.block for edit in plan.edits] == ["1.blocks.1", "1.blocks.2", "1.blocks.3"]


def test_training_mode_runs_and_lv_vit_gives_both_heads():
    model = infoprune.tokens.sparsify_(lv_vit(), schedule=SCHEDULE).train()
    logits, dense = model(image_of(model))
    assert logits.shape == (2, 5)
    assert dense.shape == (2, 4, 5)


# ------------------------------------------------------------------------------------------------ plans and files


def test_a_plan_survives_json():
    plan = infoprune.tokens.plan(vit(), schedule=SCHEDULE, fuse=True)
    assert ip.Plan.from_json(plan.to_json()) == plan
    assert "blocks.2" in str(plan)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("site", "blocks[0]"), ("site", None), ("arriving", 1), ("arriving", -1), ("arriving", 2.5), ("kept", 0),
        ("kept", 16), ("kept", True), ("prefix", -1), ("score", "os.system"), ("score", 3), ("kernels", 0),
        ("kernels", 1 << 40), ("fuse", 1), ("fuse", "yes"),
    ],
)  # fmt: skip
def test_malformed_edits_are_refused(field, value):
    plan = json.loads(infoprune.tokens.plan(vit(), schedule={1: 0.5}).to_json())
    plan["edits"][0][field] = value
    with pytest.raises(BadArtifact):
        ip.Plan.from_json(json.dumps(plan))


def test_missing_and_unknown_fields_are_refused():
    plan = json.loads(infoprune.tokens.plan(vit(), schedule={1: 0.5}).to_json())
    for change in (lambda e: e.pop("fuse"), lambda e: e.update(path="/")):
        broken = copy.deepcopy(plan)
        change(broken["edits"][0])
        with pytest.raises(BadArtifact):
            ip.Plan.from_json(json.dumps(broken))


def test_a_saved_model_gives_the_same_logits(tmp_path):
    import timm

    model = timm.create_model("test_vit", img_size=64, num_classes=7).eval()
    plan = infoprune.tokens.plan(model, schedule={1: 0.5, 3: 0.5}, fuse=True)
    ip.prune_(model, torch.randn(1, 3, 64, 64), plan)
    ip.save(tmp_path / "vit", model, plan)
    image = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(ip.load(tmp_path / "vit")(image), model(image))


def test_a_saved_lv_vit_is_built_by_its_own_factory(tmp_path):
    model = lv_vit()
    plan = infoprune.tokens.plan(model, schedule=SCHEDULE)
    image = image_of(model)
    ip.prune_(model, image, plan)
    ip.save(tmp_path / "lv", model, plan)
    with torch.no_grad():
        assert torch.equal(ip.load(tmp_path / "lv", factory=lv_vit)(image), model(image))


def widths(model, *, where):
    """40 % off the sites with one of these words in their names."""
    image = image_of(model)
    names = [site.name for site in ip.Graph.trace(model, image).sites if any(word in site.name for word in where)]
    return ip.plan(model, image, ip.importance.CapacityIndependenceImportance(), rates=dict.fromkeys(names, 0.4))


def test_heads_mlps_and_tokens_are_cut_by_one_plan():
    model = vit()
    both = widths(model, where=("attn", "mlp")) + planned(model)
    assert len(both.edits) == 11
    assert ip.certificate_of(model, image_of(model), both).verdict == "exact"


@pytest.mark.parametrize(("family", "score"), [("deit", "capacity_independence"), ("lv-vit", "paper")])
def test_the_width_of_the_tokens_is_cut_by_the_same_plan(family, score):
    """A score looks at the channels that are there, so the masked original's looks at those that stay."""
    model = FAMILIES[family]()
    image = image_of(model)
    everything = ip.plan(model, image, ip.importance.CapacityIndependenceImportance(), rates=0.4)
    both = planned(model, score, fuse=True) + everything
    assert both.widths["patch_embed.proj"] < 24
    certificate = ip.certificate_of(model, image, both)
    assert certificate.verdict == "not exact by design"
    assert certificate.compared
    assert certificate.difference < 1e-9 * certificate.scale


def test_tokens_leave_before_a_block_that_left_itself():
    model = vit()
    image = image_of(model)
    dropped = [edit for edit in removals(model, image) if edit.unit.name.startswith("blocks.2")]
    both = planned(model) + ip.Plan(tuple(dropped))
    assert ip.certificate_of(model, image, both).verdict == "exact"
    assert type(ip.prune_(model, image, both).blocks[2]).__name__ == "PassThrough"


def test_the_width_of_tokens_is_cut_by_a_plan_of_its_own_and_both_are_saved(tmp_path):
    model, image = vit(), image_of(vit())
    first = widths(model, where=("patch_embed", "pos_embed", "cls_token", "head"))
    ip.prune_(model, image, first)
    assert model.pos_embed.shape[-1] < 24
    second = infoprune.tokens.plan(model, schedule=SCHEDULE)
    ip.prune_(model, image, second)
    ip.save(tmp_path / "vit", model, [first, second])
    with torch.no_grad():
        assert torch.equal(ip.load(tmp_path / "vit", factory=vit)(image), model(image))


def test_a_thinned_transformer_can_still_be_cut_in_width():
    model = infoprune.tokens.sparsify_(vit(), schedule=SCHEDULE)
    image = image_of(model)
    plan = ip.plan(model, image, ip.importance.CapacityIndependenceImportance(), budgets=[ip.budgets.macs(keep=0.7)])
    pruned = ip.prune_(model, image, plan)
    assert ip.measure(pruned, image).macs == plan.prices["macs"].after


# ----------------------------------------------------------------------------------------------- what goes wrong


def test_a_wrong_choice_fails_the_certificate_and_leaves_the_model(monkeypatch):
    model = vit()
    before = model(image_of(model))
    plan = infoprune.tokens.plan(model, schedule=SCHEDULE)
    forward = TokenSelection.forward
    monkeypatch.setattr(TokenSelection, "forward", lambda self, x, block: forward(self, x, block).flip(1))
    with pytest.raises(CertificateFailed):
        ip.prune_(model, image_of(model), plan)
    monkeypatch.undo()
    assert not any("keep_tokens" in block._modules or block._forward_pre_hooks for block in model.blocks)
    assert torch.equal(model(image_of(model)), before)


def test_thinning_twice_is_refused():
    model = infoprune.tokens.sparsify_(vit(), schedule={1: 0.5})
    with pytest.raises(StalePlan, match="already"):
        infoprune.tokens.sparsify_(model, schedule={1: 0.5})


def test_plans_for_other_models_are_refused():
    edit = KeepTokens("blocks.1", 16, 8, 1, "l2", 3)
    for wrong in ({"block": "blocks.9"}, {"prefix": 2}, {"arriving": 99}):
        with pytest.raises(StalePlan):
            ip.prune_(vit(), image_of(vit()), ip.Plan((KeepTokens(**{**vars(edit), **wrong}),)))


def test_a_plan_of_tokens_has_no_ratio_in_the_hosts_words():
    plan = infoprune.tokens.plan(vit(), schedule={1: 0.5})
    with pytest.raises(ValueError, match="prune_"):
        plan.pruning_ratios(vit())


def thinned(score="capacity_independence", *, fuse=False, **options):
    model = vit(**options)
    return ip.prune_(model, image_of(model), planned(model, score, fuse=fuse), certify=False)


EXPORTED = {"class_attention", "capacity"}  # by what attention and by what tokens say; the others are made of the same


@pytest.mark.parametrize(
    "score", [s if s in EXPORTED else pytest.param(s, marks=pytest.mark.slow) for s in sorted(infoprune.tokens.scores)]
)
def test_thinned_transformers_export(score):
    model = thinned(score, fuse=True)
    image = image_of(model, 1)
    program = torch.export.export(model, (image,))
    with torch.no_grad():
        torch.testing.assert_close(program.module()(image), model(image))


def test_one_export_takes_any_number_of_images():
    model = thinned()
    sizes = ({0: torch.export.Dim("batch", min=1, max=64)},)
    program = torch.export.export(model, (image_of(model, 2),), dynamic_shapes=sizes).module()
    for batch in (1, 5):
        image = image_of(model, batch)
        with torch.no_grad():
            torch.testing.assert_close(program(image), model(image))
