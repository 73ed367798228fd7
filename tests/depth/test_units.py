"""Skip units: as many as the design defines, each of which can leave alone."""

import copy

import pytest
import timm
import torch
import torchvision
from tests.depth.skip_nets import ZOO, CifarResNet, Dense, Plain, SiluResidual, Transformer, randomised
from torch import nn

import infoprune as ip
from infoprune.depth import removals
from infoprune.surgery import Plan
from infoprune.surgery.blocks import compact
from infoprune.surgery.stand_ins import PassThrough, Replacement, Shortcut

X = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
TOKENS = torch.randn(2, 7, 6, generator=torch.Generator().manual_seed(1))
SMALL = {
    "cifar": (CifarResNet, X),
    "transformer": (Transformer, TOKENS),
    "dense": (Dense, X),
    "silu": (SiluResidual, X),
}
QUICK = {"resnet18", "mobilenetv3_small_100", "convnext_atto", "regnety_002", "vit_tiny_patch16_224"}
MODELS = [pytest.param(*row[:3], id=row[0], marks=() if row[0] in QUICK else pytest.mark.slow) for row in ZOO]


def plan_of(*edits, inputs=X):
    return Plan(tuple(edits), inputs=((tuple(inputs.shape), "float32"),))


def small(name):
    build, inputs = SMALL[name]
    return randomised(build()), inputs


def leaves_well(model, inputs, edit, directory, factory=None):
    """Forward, backward, the certificate, and the artefact of a network without this unit."""
    plan = Plan.from_json(plan_of(edit, inputs=inputs).to_json())
    assert plan.edits == (edit,)
    pruned = copy.deepcopy(model)
    assert ip.certificate_of(pruned, inputs, plan).verdict == "exact"
    ip.prune_(pruned, inputs, plan, certify=False)
    assert sum(p.numel() for p in pruned.parameters()) < sum(p.numel() for p in model.parameters())
    pruned.train()(torch.cat([inputs, inputs])).square().mean().backward()
    assert all(p.grad is not None for p in pruned.eval().parameters() if p.requires_grad)
    ip.save(directory / "pruned", pruned, plan)
    again = ip.load(directory / "pruned", factory=factory)
    with torch.no_grad():
        assert torch.equal(pruned(inputs), again(inputs))


@pytest.mark.parametrize(("name", "size", "units"), MODELS)
def test_a_network_has_as_many_units_as_its_design_defines(name, size, units):
    model = timm.create_model(name)
    assert len(ip.skip_units(model, torch.randn(1, 3, size, size))) == units


@pytest.mark.parametrize(
    ("name", "units"),
    [
        ("resnet18", 8),
        ("mobilenet_v2", 10),
        ("efficientnet_b0", 9),
        ("convnext_tiny", 18),
        ("regnet_y_400mf", 16),
    ],
)
@pytest.mark.slow
def test_torchvision_networks_have_them_too(name, units):
    model = torchvision.models.get_model(name)
    assert len(ip.skip_units(model, torch.randn(1, 3, 64, 64))) == units


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size", "units"), [p for p in MODELS if p.values[0] != "densenet121"])
def test_each_single_unit_of_a_timm_model_leaves_well(name, size, units, tmp_path):
    model = randomised(timm.create_model(name, num_classes=10))
    inputs = torch.randn(1, 3, size, size)
    for number, edit in enumerate(removals(model, inputs)):
        leaves_well(model, inputs, edit, tmp_path / str(number))


@pytest.mark.slow
def test_each_layer_of_a_densenet_leaves_well(tmp_path):
    model = randomised(timm.create_model("densenet121", num_classes=10))
    inputs = torch.randn(1, 3, 64, 64)
    for number, edit in enumerate(removals(model, inputs)):
        leaves_well(model, inputs, edit, tmp_path / str(number))


@pytest.mark.parametrize(
    ("name", "units"),
    [
        ("cifar", [f"layers.{i}" for i in range(6)]),
        ("transformer", [f"blocks.{i}.{half}" for i in range(3) for half in ("attn", "mlp")]),
        ("dense", ["layers.0", "layers.1", "layers.2"]),
        ("silu", ["block"]),
    ],
)
def test_units_are_named_after_the_module_that_leaves(name, units):
    model, inputs = small(name)
    assert [site.name for site in ip.skip_units(model, inputs)] == units
    assert {(site.kind, site.size) for site in ip.skip_units(model, inputs)} == {("block", 1)}


@pytest.mark.parametrize("name", SMALL)
def test_each_single_unit_of_a_small_network_leaves_well(name, tmp_path):
    model, inputs = small(name)
    for number, edit in enumerate(removals(model, inputs)):
        leaves_well(model, inputs, edit, tmp_path / str(number), factory=SMALL[name][0])


@pytest.mark.parametrize("name", SMALL)
def test_all_units_leave_together(name, tmp_path):
    model, inputs = small(name)
    plan = plan_of(*removals(model, inputs), inputs=inputs)
    ip.prune_(model, inputs, plan)
    ip.save(tmp_path / "pruned", model, plan)
    again = ip.load(tmp_path / "pruned", factory=SMALL[name][0])
    assert torch.equal(model(inputs), again(inputs))
    with pytest.raises(ip.errors.Untraceable, match="no skip unit"):
        ip.plan_depth(model, inputs, {}, clusters=1)


def test_finding_units_changes_nothing():
    model, inputs = small("cifar")
    model.train()
    before, state = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    ip.skip_units(model, inputs)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_a_network_without_skip_connections_has_none():
    assert ip.skip_units(Plain(), X) == ()


def test_a_removed_unit_equals_one_whose_branch_is_zero():
    model, _ = small("cifar")
    edit = removals(model, X)[1]
    zeroed = copy.deepcopy(model)
    zeroed.layers[1].bn2.weight.data.zero_()
    zeroed.layers[1].bn2.bias.data.zero_()
    ip.prune_(model, X, plan_of(edit))
    torch.testing.assert_close(model(X), zeroed(X))


def test_a_projection_stays_with_its_names_and_the_activation():
    model, _ = small("cifar")
    ip.prune_(model, X, plan_of(removals(model, X)[2]))
    stays = model.layers[2]
    assert isinstance(stays, Shortcut)
    assert set(stays.state_dict()) == {f"down.{k}" for k in CifarResNet().layers[2].down.state_dict()}
    assert [step.name for step in stays.steps] == ["down", "relu"]


def test_an_activation_that_changes_its_input_stays_and_overwrites_nothing():
    model, _ = small("silu")
    ip.prune_(model, X, plan_of(removals(model, X)[0]))
    x = model.stem(X)
    kept = x.clone()
    torch.testing.assert_close(model.block(x), torch.nn.functional.silu(kept))
    assert torch.equal(x, kept)


def test_a_block_leaves_whole_once_both_halves_are_gone():
    model, x = small("transformer")
    attention, mlp = removals(model, x)[2:4]
    ip.prune_(model, x, plan_of(mlp, inputs=x))
    assert isinstance(model.blocks[1], type(model.blocks[0]))
    second = [e for e in removals(model, x) if e.site.name == attention.site.name]
    ip.prune_(model, x, plan_of(*second, inputs=x))
    assert isinstance(model.blocks[1], PassThrough)
    assert len(ip.skip_units(model, x)) == 4


def test_two_stages_reload_from_their_two_plans(tmp_path):
    model, x = small("transformer")
    plans = []
    for unit in ("blocks.1.mlp", "blocks.1.attn"):
        edits = [e for e in removals(model, x) if e.site.name == unit]
        plans.append(plan_of(*edits, inputs=x))
        ip.prune_(model, x, plans[-1])
    ip.save(tmp_path / "a", model, plans)
    assert torch.equal(ip.load(tmp_path / "a", factory=Transformer)(x), model(x))


def test_hooks_on_a_removed_block_go_on_seeing_what_passes():
    model, _ = small("cifar")
    seen = []
    handle = model.layers[1].register_forward_hook(lambda m, a, out: seen.append(out.shape))
    edit = removals(model, X)[1]
    seen.clear()
    ip.prune_(model, X, plan_of(edit), certify=False)
    model(X)
    assert len(seen) == 1
    handle.remove()
    model(X)
    assert len(seen) == 1


def test_timm_features_keep_their_names_and_shapes():
    model = randomised(timm.create_model("resnet18", features_only=True))
    x = torch.randn(1, 3, 64, 64)
    edits = removals(model, x)
    shapes = [f.shape for f in model(x)]
    ip.prune_(model, x, plan_of(*edits[:3], inputs=x))
    assert [f.shape for f in model(x)] == shapes


@pytest.mark.parametrize("name", ["cifar", "dense"])
def test_blocks_and_channels_leave_in_one_plan(name, tmp_path):
    model, inputs = small(name)
    edits = removals(model, inputs)[1:2]
    channels = ip.plan(model, inputs, ip.importance.CapacityImportance(), rates=0.3)
    both = Plan.from_json((plan_of(*edits) + channels).to_json())
    assert len(both.edits) == len(channels.edits) + 1
    ip.prune_(model, inputs, both)
    ip.save(tmp_path / "a", model, both)
    again = ip.load(tmp_path / "a", factory=SMALL[name][0])
    assert torch.equal(again(inputs), model(inputs))


def test_a_timm_model_without_blocks_is_found_by_its_name_again(tmp_path):
    model = randomised(timm.create_model("resnet18", num_classes=10))
    x = torch.randn(1, 3, 64, 64)
    edits = removals(model, x)
    channels = ip.plan(model, x, ip.importance.CapacityImportance(), budgets=ip.budgets.macs(keep=0.5))
    plan = plan_of(edits[1], edits[2], inputs=x) + channels
    ip.prune_(model, x, plan)
    ip.save(tmp_path / "a", model, plan)
    assert torch.equal(ip.load(tmp_path / "a")(x), model(x))


def test_an_optimizer_goes_on_without_the_block():
    model, _ = small("cifar")
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    model(X).sum().backward()
    optimizer.step()
    plan = plan_of(removals(model, X)[1])
    ip.prune_(model, X, plan)
    ip.rebuild_optimizer(optimizer, plan, model)
    assert len(optimizer.param_groups[0]["params"]) == len(list(model.parameters()))


def test_compacting_deletes_pass_throughs_and_renumbers():
    model, _ = small("cifar")
    edits = removals(model, X)
    ip.prune_(model, X, plan_of(edits[1], edits[2], edits[3]))
    expected = model(X)
    compact(model)
    assert len(model.layers) == 4
    assert not any(isinstance(m, PassThrough) for m in model.modules())
    assert isinstance(model.layers[1], Shortcut)
    torch.testing.assert_close(model(X), expected, rtol=0, atol=0)


# ------------------------------------------------------------------------------- what must not work


def test_the_same_block_cannot_leave_twice():
    model, _ = small("cifar")
    plan = plan_of(removals(model, X)[1])
    ip.prune_(model, X, plan)
    with pytest.raises(ip.errors.StalePlan, match="removed from this model before"):
        ip.prune_(model, X, plan)


def test_a_plan_for_another_model_is_refused_and_nothing_changes():
    plan = plan_of(removals(randomised(CifarResNet(width=6)), X)[1])
    model, _ = small("cifar")
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(ip.errors.StalePlan):
        ip.prune_(model, X, plan)
    assert not any(isinstance(m, Replacement) for m in model.modules())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_a_failing_certificate_leaves_the_model_as_it_was():
    model, _ = small("cifar")
    edit = removals(model, X)[1]
    wrong = type(edit)(type(edit.unit)(**{**vars(edit.unit), "branch_end": "layers.3.bn2"}))
    with pytest.raises(ip.errors.CertificateFailed):
        ip.prune_(model, X, plan_of(wrong))
    assert not any(isinstance(m, Replacement) for m in model.modules())


def test_torch_pruning_has_no_ratio_for_a_block():
    model, _ = small("cifar")
    with pytest.raises(ValueError, match="leaves whole"):
        plan_of(removals(model, X)[1]).pruning_ratios(model)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("site", "a/b"),
        ("branch_end", 3),
        ("stand_ins", []),
        ("stand_ins", [["layers.1", "eval", 0, []]]),
        ("stand_ins", [["layers.1", "pass", -1, []]]),
        ("stand_ins", [["layers.1", "shortcut", 0, [["function", "exec"]]]]),
        ("stand_ins", [["layers.1", "shortcut", 0, [["module", "a.b"]]]]),
        ("whole", "layers.1"),
        ("siblings", "layers.1"),
        ("cut", {}),
        ("lost", [["x", [-1]]]),
        ("lost", [["x"]]),
    ],
)
def test_malformed_json_is_refused(field, value):
    import json

    model, _ = small("cifar")
    data = json.loads(plan_of(removals(model, X)[1]).to_json())
    data["edits"][0][field] = value
    with pytest.raises(ip.errors.BadArtifact):
        Plan.from_json(json.dumps(data))


def test_stand_ins_hold_no_parameters_and_take_what_containers_send():
    stand_in = PassThrough(outputs=2)
    assert stand_in(X, 1, mask=None) == (X, None)
    assert not list(stand_in.parameters())
    assert isinstance(stand_in, nn.Module)
