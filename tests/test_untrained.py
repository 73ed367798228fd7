"""A network without trained weights is said to be one wherever its units are ranked."""

import logging

import pytest
import timm
import torch
import torch_pruning as tp
from torch import nn

import infoprune as ip
from infoprune.cli import main
from infoprune.planning.untrained import looks_untrained


def rank(model, x):
    ip.plan(model, x, tp.importance.MagnitudeImportance(p=1), rates=0.5)


def trained_a_step(model, x):
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(x).square().sum().backward()
    optimizer.step()
    return model.eval()


@pytest.mark.parametrize("name", ["resnet10t", "vit_tiny_patch16_224"])
def test_it_is_told_in_one_line_until_it_is_trained(name, caplog):
    small = {"img_size": 64, "depth": 2} if "vit" in name else {}
    model, x = timm.create_model(name, num_classes=4, **small).eval(), torch.randn(2, 3, 64, 64)
    rank(model, x)
    assert [(r.name, r.levelno) for r in caplog.records] == [("infoprune", logging.WARNING)]
    assert "looks untrained" in caplog.text
    assert "\n" not in caplog.records[0].message
    caplog.clear()
    rank(trained_a_step(model, x), x)
    assert caplog.records == []


def test_networks_without_norms_are_not_judged():
    assert not looks_untrained(nn.Sequential(nn.Linear(3, 3), nn.ReLU()))
    assert looks_untrained(nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)))


def test_the_command_tells_it_on_stderr(capfd, caplog):
    assert main(["plan", "resnet20_cifar", "--input", "1x3x32x32", "--macs", "0.5"]) == 0
    assert "looks untrained" in caplog.text
