"""torchvision's loop goes on over surgery as if the removed units had been zero, and its other networks are pruned."""

import copy
import runpy
import sys
from argparse import Namespace
from pathlib import Path

import pytest
import timm
import torch
from tests.integrations.continuing import half, mask_
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import infoprune as ip

FOLDER = Path(__file__).parent.parent.parent / "integrations" / "torchvision"
loop = Namespace(**runpy.run_path(str(FOLDER / "train.py")))
IMAGE = torch.zeros(1, 3, 32, 32)


def batches():
    generator = torch.Generator().manual_seed(0)
    return [
        (torch.randn(4, 3, 32, 32, generator=generator, dtype=torch.float64), torch.tensor([1, 2, 3, 4]))
        for _ in range(3)
    ]


@pytest.fixture(params=["SGD", "AdamW"])
def training(request):
    """A network, its average, its optimizer and its schedule after an epoch, in double precision."""
    torch.manual_seed(0)
    model = timm.create_model("test_resnet", num_classes=10).double()
    options = {"momentum": 0.9} if request.param == "SGD" else {}
    optimizer = getattr(torch.optim, request.param)(model.parameters(), lr=0.01, weight_decay=1e-4, **options)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    ema = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    loop.train_one_epoch(model, ema, nn.CrossEntropyLoss(), optimizer, batches())
    schedule.step()
    return model, ema, optimizer, schedule


def another_epoch(model, ema, optimizer, schedule):
    losses = loop.train_one_epoch(model, ema, nn.CrossEntropyLoss(), optimizer, batches())
    schedule.step()
    with torch.no_grad():
        answers = [m.eval()(batches()[0][0]) for m in (model, ema.module)]
    return losses, schedule.get_last_lr(), answers


def test_an_epoch_after_surgery_is_the_epoch_of_the_masked_network(training):
    masked, averaged, optimizer, schedule = copy.deepcopy(training)
    plan = half(training[0], IMAGE.double())
    mask_(masked, plan, [optimizer])
    mask_(averaged.module, plan)
    expected, rate, answers = another_epoch(masked, averaged, optimizer, schedule)

    model, ema, optimizer, schedule = training
    for network in (model, ema.module):
        ip.prune_(network, IMAGE.double(), plan)
    ip.rebuild_optimizer(optimizer, plan, model)
    losses, same_rate, ours = another_epoch(model, ema, optimizer, schedule)

    assert len(plan.edits) > 3
    assert rate == same_rate
    torch.testing.assert_close(losses, expected, rtol=1e-9, atol=0)  # double precision, three steps
    torch.testing.assert_close(ours, answers, rtol=1e-7, atol=1e-9)


def test_without_its_memory_the_optimizer_goes_elsewhere(training):
    """The comparison above would notice momentum or moments that were lost."""
    masked, averaged, optimizer, schedule = copy.deepcopy(training)
    mask_(masked, half(masked, IMAGE.double()), [optimizer])
    kept, _, _ = another_epoch(*copy.deepcopy((masked, averaged, optimizer, schedule)))
    optimizer.state.clear()
    lost, _, _ = another_epoch(masked, averaged, optimizer, schedule)
    assert abs(kept[-1] - lost[-1]) > 1e-6 * abs(kept[-1])


def test_the_reference_loop_prunes_on_the_way_and_saves_the_average(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.utils.data, "RandomSampler", torch.utils.data.SequentialSampler)
    options = Namespace(
        data_path=None, model="mobilenet_v3_small", size=32, batch_size=16, lr=0.01, epochs=2, prune_epoch=1, macs=0.6,
        to=tmp_path / "a",
    )  # fmt: skip
    directory = loop.main(options)
    assert ip.measure(ip.load(directory), IMAGE).macs <= 0.6 * dense_macs("mobilenet_v3_small")


def dense_macs(name):
    import torchvision

    return ip.measure(torchvision.models.get_model(name, num_classes=10).eval(), IMAGE).macs


@pytest.mark.parametrize(
    "model",
    [
        "deeplabv3_mobilenet_v3_large",
        pytest.param("fcn_resnet50", marks=pytest.mark.slow),
        pytest.param("deeplabv3_resnet50", marks=pytest.mark.slow),
        pytest.param("maskrcnn_resnet50_fpn", marks=pytest.mark.slow),
    ],
)
def test_segmenters_and_detectors_are_pruned_between_two_steps(model, tmp_path, monkeypatch):
    to = str(tmp_path / "a")
    monkeypatch.setattr(sys, "argv", ["x", "--model", model, "--size", "64", "--to", to])
    names = runpy.run_path(str(FOLDER / "dense_prediction.py"), run_name="__main__")
    assert names["plan"].prices["macs"].keep <= 0.6
    assert ip.load(to).training is False
