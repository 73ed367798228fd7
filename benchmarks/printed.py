"""Every row of the papers' tables that a recipe is for: what is printed, and the command that prices it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Row:
    """A row as printed, in millions of MACs and parameters, and the recipe that is for it, with settings.

    The papers do not print which blocks leave: `kept` is one choice, a range of blocks of each stage, of as many blocks
    as the recipe keeps. `why` says what keeps ours from 1 % of what is printed.
    """

    paper: str
    table: str
    name: str
    recipe: str
    macs: float
    params: float | None = None
    settings: tuple[str, ...] = ()
    kept: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    why: str = ""

    @property
    def changes(self) -> str:
        """The settings as options of a command line."""
        return " ".join(f"--set {shlex.quote(setting)}" for setting in self.settings)


def _capacity(table: str, name: str, recipe: str, macs: float, params: float, *settings: str) -> Row:
    return Row("capacity", table, name, recipe, macs, params, settings)


def _shares(macs: float, params: float, *more: str) -> tuple[str, ...]:
    return (f"budget.macs={macs}", f"budget.params={params}", *more)


def _energy(table: str, name: str, recipe: str, macs: float, params: float,
            kept: Mapping[str, tuple[int, int]], stages: int | None = None) -> Row:  # fmt: skip
    units = sum(last - first for first, last in kept.values())
    settings = () if stages is None else (f"depth.stages={stages}", f"depth.keep_units={units}")
    return Row("energy", table, name, recipe, macs, params, settings, kept)


def _strategy(table: str, name: str, recipe: str, macs: float, *settings: str) -> Row:
    return Row("strategy", table, name, recipe, macs, None, settings)


def _groups(first: tuple[int, int], second: tuple[int, int], third: tuple[int, int]) -> dict[str, tuple[int, int]]:
    return {"layer1": first, "layer2": second, "layer3": third}


def _dense(first: int, second: int, third: int) -> dict[str, tuple[int, int]]:
    return {"features.1": (0, first), "features.3": (0, second), "features.5": (0, third)}


ROWS = (
    _capacity("I", "VGG-16", "cifar10-vgg16-capacity", 129.23, 2.53),
    _capacity("I", "VGG-16, second", "cifar10-vgg16-capacity", 102.87, 2.27, *_shares(0.3282, 0.1514)),
    _capacity("I", "VGG-16, third", "cifar10-vgg16-capacity", 65.94, 1.77, *_shares(0.2104, 0.1181)),
    _capacity("I", "ResNet-56", "cifar10-resnet56-capacity", 52.84, 0.36),
    _capacity("I", "ResNet-56, second", "cifar10-resnet56-capacity", 34.09, 0.22, *_shares(0.2717, 0.258)),
    _capacity("text", "ResNet-110", "cifar10-resnet110-capacity", 71.06, 0.53),
    _capacity("II", "ResNet-50", "imagenet-resnet50-capacity", 2050, 13.83),
    _capacity("II", "ResNet-50, second", "imagenet-resnet50-capacity", 1500, 10.81,
              "budget.macs=0.3668", "budget.floor={layer4: 0.6}"),
    _capacity("II", "ResNet-50, third", "imagenet-resnet50-capacity", 930, 7.85,
              "budget.macs=0.2274", "budget.floor={layer4: 0.57}"),
    _capacity("III", "VGG-16, CIFAR-100", "cifar100-vgg16-capacity", 102.88, 2.31),
    _capacity("III", "VGG-16, CIFAR-100, second", "cifar100-vgg16-capacity", 65.76, 1.81, *_shares(0.2098, 0.1204)),
    _capacity("III", "VGG-16, CIFAR-100, third", "cifar100-vgg16-capacity", 47.82, 1.63, *_shares(0.1525, 0.1084)),
    Row("capacity", "V", "DeiT-S, tokens", "imagenet-deit_s-tokens", 2980,
        why="4.75 G are printed for the dense network, where 4.60 G are multiply-adds. 36.5 % leave, 37.3 % printed"),
    Row("capacity", "V", "LV-ViT-S, tokens", "imagenet-lvvit_s-tokens", 3800),
    Row("capacity", "VI", "YOLACT", "coco-yolact", 38970),
    _strategy("1", "VGG", "cifar10-vgg16-itpruner", 98.8),
    _strategy("1", "ResNet-20", "cifar10-resnet20-itpruner", 20.8),
    _strategy("1", "ResNet-56", "cifar10-resnet56-itpruner", 59.5),
    _strategy("2", "MobileNetV1", "imagenet-mobilenetv1-itpruner", 283),
    _strategy("2", "MobileNetV1, second", "imagenet-mobilenetv1-itpruner", 149, "budget.macs=0.262"),
    _strategy("2", "MobileNetV2", "imagenet-mobilenetv2-itpruner", 219),
    _strategy("2", "MobileNetV2, second", "imagenet-mobilenetv2-itpruner", 149, "budget.macs=0.495"),
    _strategy("2", "ResNet-50", "imagenet-resnet50-itpruner", 2236),
    _strategy("2", "ResNet-50, second", "imagenet-resnet50-itpruner", 1943, "budget.macs=0.475"),
    _energy("1", "ResNet-56", "cifar10-resnet56-ped", 45.73, 0.32, _groups((0, 5), (0, 1), (0, 4))),
    _energy("1", "ResNet-164-a", "cifar10-resnet164-ped", 71.06, 0.65, _groups((0, 4), (0, 2), (0, 8))),
    _energy("1", "ResNet-164-b", "cifar10-resnet164-ped", 48.93, 0.48, _groups((1, 3), (0, 1), (0, 6)), 9),
    _energy("1", "DenseNet-100-a", "cifar10-densenet100-ped", 117.73, 0.29, _dense(8, 6, 7)),
    _energy("1", "DenseNet-100-b", "cifar10-densenet100-ped", 116.51, 0.27, _dense(8, 6, 6), 11),
    _energy("2", "ResNet-164-a", "cifar100-resnet164-ped", 100.09, 0.58, _groups((1, 12), (0, 3), (0, 6))),
    _energy("2", "ResNet-164-b", "cifar100-resnet164-ped", 91.01, 0.47, _groups((1, 10), (0, 5), (0, 4)), 11),
    _energy("2", "DenseNet-100-a", "cifar100-densenet100-ped", 239.27, 0.51, _dense(16, 5, 12)),
    _energy("2", "DenseNet-100-b", "cifar100-densenet100-ped", 221.89, 0.47, _dense(13, 14, 4), 6),
    _energy("3", "ResNet-50", "imagenet-resnet50-ped", 2030, 12.40,
            {"layer1": (0, 1), "layer2": (0, 3), "layer3": (1, 3), "layer4": (1, 2)}),
)  # fmt: skip
