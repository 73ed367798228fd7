"""Recipes of the tests name a network with one block a stage; the bundled ones have nine and more."""

import pytest

from infoprune.models import models
from infoprune.models.base import made_for
from infoprune.models.cifar_resnet import CifarResNet


class Resnet8(CifarResNet):
    """A class of its own: artefacts look for the builders of a class by building with each."""

    def __init__(self, num_classes: int):
        super().__init__(8, num_classes)


@made_for(3, 32, 32)
def resnet8_cifar(*, num_classes: int = 10) -> "Resnet8":
    return Resnet8(num_classes)


Resnet8.__module__ = resnet8_cifar.__module__ = CifarResNet.__module__  # they look beside the class


@pytest.fixture(autouse=True)
def _resnet8(monkeypatch):
    monkeypatch.setitem(models._factories, "resnet8_cifar", resnet8_cifar)
