"""Recipes of the tests name a network with one block a stage; the bundled ones have nine and more."""

import pytest

from infoprune.models import models
from infoprune.models.base import made_for
from infoprune.models.cifar_resnet import CifarResNet


@made_for(3, 32, 32)
def resnet8_cifar(*, num_classes: int = 10) -> "CifarResNet":
    return CifarResNet(8, num_classes)


resnet8_cifar.__module__ = CifarResNet.__module__  # artefacts look for builders beside the class


@pytest.fixture(autouse=True)
def _resnet8(monkeypatch):
    monkeypatch.setitem(models._factories, "resnet8_cifar", resnet8_cifar)
