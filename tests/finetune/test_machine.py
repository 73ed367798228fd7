"""What training runs in: native bf16 or none, and a memory layout that torch's kernels survive."""

import os
import sys

import pytest
import torch
import torch_pruning as tp
import torchvision
from tests.finetune.test_resume import examples, net, run
from tests.fresh import python
from torch import nn
from torchvision.models.resnet import BasicBlock

import infoprune as ip
from infoprune.data.tensors import task_of
from infoprune.finetune import Training, train
from infoprune.finetune.number_format import autocast, layout_for, precision_on
from infoprune.recipe import recipe_of

CPU = torch.device("cpu")


def told_of(**capabilities):
    return lambda: {"avx2": True, **capabilities}


@pytest.mark.parametrize(
    ("capabilities", "used"),
    [({"avx512_f": True}, "fp32"), ({}, "fp32"), ({"avx512_bf16": True}, "bf16"), ({"amx_bf16": True}, "bf16")],
)
def test_bf16_is_for_processors_that_compute_in_it(monkeypatch, capabilities, used):
    monkeypatch.setattr(torch.cpu, "get_capabilities", told_of(**capabilities), raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: capabilities.get("avx512_bf16", False))
    assert precision_on(CPU, "auto").used == used
    assert "native" in str(precision_on(CPU, "auto"))


@pytest.mark.parametrize(("native", "used"), [(True, "bf16"), (False, "fp32")])
def test_gpus_are_asked_without_emulation(monkeypatch, native, used):
    asked = []
    monkeypatch.setattr(torch.cuda, "device", lambda device: autocast(CPU, "fp32"))
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation: asked.append(including_emulation) or native
    )
    assert precision_on(torch.device("cuda"), "auto").used == used
    assert asked == [False]


@pytest.mark.parametrize("named", ["bf16", "fp16", "fp32"])
def test_a_precision_that_is_named_is_used(named):
    assert str(precision_on(CPU, named)) == f"{named} (as asked)"


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp32", torch.float32)])
def test_training_computes_in_the_precision_that_is_named(precision, dtype):
    model, seen = net(), []
    model[0].register_forward_hook(lambda layer, inputs, output: seen.append(output.dtype))
    train(model, examples(16), Training(epochs=1, precision=precision, reestimate=0), batch=16, classes=4)
    assert set(seen) == {dtype}


def test_training_says_what_it_runs_in():
    told = []
    run(Training(epochs=0, precision="fp32", channels_last=False, reestimate=0), say=told.append)
    assert told == ["training in fp32 (as asked), contiguous (as asked)"]


def test_recipes_may_name_either_or_leave_it():
    def tuning(**keys):
        told = {"schema": 1, "model": {"name": "resnet20_cifar"}, "data": {"name": "digits"}, "budget": {"macs": 0.5}}
        return recipe_of({**told, "finetune": keys}).finetune

    assert (tuning().precision, tuning().channels_last) == ("auto", "auto")
    assert (tuning(precision="bf16").precision, tuning(channels_last=False).channels_last) == ("bf16", False)


def strided(channels, *, stride=2, kernel=1, groups=1):
    return nn.Sequential(nn.Conv2d(channels, 8, kernel, stride, groups=groups))


@pytest.mark.parametrize("channels", range(2, 8))
def test_a_narrow_strided_shortcut_keeps_a_network_contiguous_on_cpus(channels):
    assert str(layout_for(strided(channels), CPU, "auto")) == (
        "contiguous (0 is too narrow for torch's channels last on CPUs)"
    )
    assert layout_for(strided(channels), torch.device("cuda"), "auto").used == "channels last"
    assert layout_for(strided(channels), CPU, True).used == "channels last"


@pytest.mark.parametrize(
    "layer", [strided(1), strided(8), strided(4, stride=1), strided(4, kernel=3), strided(4, groups=4), nn.Linear(4, 4)]
)
def test_other_layers_do_not(layer):
    assert layout_for(layer, CPU, "auto").used == "channels last"


def resnet_at_a_tenth():
    """A ResNet for small pictures that keeps less than a tenth: a 1x1 convolution with stride 2 projects 4 channels."""
    torch.manual_seed(0)
    model = torchvision.models.ResNet(BasicBlock, [1, 1, 1, 1], num_classes=4).eval()
    model.conv1, model.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    x = torch.zeros(1, 3, 32, 32)
    plan = ip.plan(model, x, tp.importance.MagnitudeImportance(p=1), rates=0.95)
    return ip.prune_(model, x, plan, certify=False)


def train_twenty_steps(layout):
    """What the subprocess runs; in channels last it corrupted the heap on the first ones."""
    model = resnet_at_a_tenth().to(memory_format=torch.channels_last)  # as a caller may hand it over
    assert model.layer2[0].downsample[0].in_channels < 8
    images, labels = torch.randn(320, 3, 32, 32), torch.arange(320) % 4
    data = task_of(images, labels, images, labels).train
    training = Training(epochs=4, channels_last=layout, reestimate=0, distill=0, precision="fp32")
    assert train(model, data, training, batch=64, classes=4).steps == 20
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_a_residual_network_at_a_tenth_trains_without_a_crash():
    """Corrupting the heap ends a process, so that it is one of its own."""
    place = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    program = "from tests.finetune import test_machine; test_machine.train_twenty_steps('auto')"
    told = python("-c", program, env=place)
    assert told.returncode == 0, told.stderr
