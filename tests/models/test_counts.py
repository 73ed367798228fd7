"""Every network of the papers has the parameters and MACs that their tables print, where these agree."""

import pytest
import torch
import torch_pruning as tp
from torch import nn

import infoprune as ip
from infoprune.models import models

# name: units that can leave, parameters and MACs in millions as printed, image size.
# ITPruner (tables 1 and 2): VGG 313.5, ResNet-20 40.6, ResNet-56 125, MobileNetV1 569 MFLOPs. PED: ResNet-56 27 units
# and 0.85 M, ResNet-164 1.70 M, DenseNet-100 48 units and 0.77 M. The capacity paper: VGG-16 2.53 M / (1 - 0.831).
PRINTED = {
    "vgg16_bn_cifar": (0, "15.0", "313.5"),
    "resnet20_cifar": (9, "0.27", "40.6"),
    "resnet56_cifar": (27, "0.85", "125"),
    "resnet110_cifar": (54, "1.73", "253"),
    "resnet164_cifar": (54, "1.70", None),
    "densenet40_cifar": (36, "1.02", None),
    "densenet100_cifar": (48, "0.77", None),
    "mobilenet_v1": (0, "4.23", "569"),
}


def as_printed(count, text):
    return f"{count / 1e6:.{len(text.partition('.')[2])}f}"


DEEPEST = {"densenet100_cifar", "resnet110_cifar", "resnet164_cifar"}  # of what smaller ones are made of, too


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in DEEPEST else name for name in PRINTED]
)
def test_counts_are_those_of_the_tables(name):
    units, params, macs = PRINTED[name]
    model, size = models[name]().eval(), 224 if name == "mobilenet_v1" else 32
    measured = ip.measure(model, torch.zeros(1, 3, size, size))
    assert as_printed(measured.params, params) == params
    assert macs is None or as_printed(measured.macs, macs) == macs
    assert len(ip.skip_units(model, torch.randn(1, 3, size, size))) == units


@pytest.mark.parametrize("name", ["resnet56_cifar"])
def test_ped_also_counts_norms(name):
    """126.54 M is what is left of the difference: two operations for every number that a batch norm gives out."""
    model, elements = models[name]().eval(), []
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(lambda m, i, o: elements.append(o.numel()))
    x = torch.zeros(1, 3, 32, 32)
    model(x)
    elements_once = sum(elements)
    macs = ip.measure(model, x).macs
    assert (macs + 2 * elements_once) / 1e6 == pytest.approx(126.54, abs=0.02)


@pytest.mark.parametrize(
    "name",
    [
        "resnet20_cifar",
        pytest.param("densenet40_cifar", marks=pytest.mark.slow),
        pytest.param("vgg16_bn_cifar", marks=pytest.mark.slow),
    ],
)
def test_every_channel_can_leave_and_the_artefact_loads_by_name(name, tmp_path):
    model, x = models[name](num_classes=7).eval(), torch.randn(2, 3, 32, 32)
    plan = ip.plan(model, x, tp.importance.MagnitudeImportance(p=2), budgets=[ip.budgets.macs(keep=0.5)])
    assert "quarantined" not in plan.made_by
    ip.prune_(model, x, plan)
    ip.save(tmp_path / "a", model, plan)
    with torch.no_grad():
        assert torch.equal(ip.load(tmp_path / "a")(x), model.eval()(x))


def test_padded_shortcuts_shrink_with_their_stream():
    model, x = models["resnet20_cifar"]().eval(), torch.randn(1, 3, 32, 32)
    graph = ip.Graph.trace(model, x)
    assert not graph.quarantined
    ip.prune_(model, x, ip.plan(model, x, tp.importance.MagnitudeImportance(p=2), rates=0.5))
    assert model.layer2[0].shortcut.before.shape[1] < 8


def test_a_network_that_lost_blocks_is_found_with_its_number_of_classes(tmp_path):
    model, x = models["resnet20_cifar"](num_classes=100).eval(), torch.randn(1, 3, 32, 32)
    energies = {unit.name: float(i) for i, unit in enumerate(ip.skip_units(model, x))}
    plan = ip.plan_depth(model, x, energies, keep_units=5, strategy="largest")
    ip.save(tmp_path / "a", ip.prune_(model, x, plan), plan)
    assert ip.load(tmp_path / "a")(x).shape == (1, 100)
