"""A model from its name on the command line, and inputs that it takes."""

from __future__ import annotations

import argparse

import torch
from torch import Tensor, nn

from infoprune.recipe.networks import build_network


def build_model(arguments: argparse.Namespace) -> nn.Module:
    """The model of that name ("infoprune:", "timm:" or "torchvision:" before it settles whose)."""
    return build_network(
        arguments.model,
        num_classes=arguments.num_classes,
        weights=arguments.weights,
        pretrained=arguments.pretrained,
    )


def example_input(model: nn.Module, shape: str | None) -> Tensor:
    """One random image of the size that the model was made for, or of the given shape ("1x3x224x224")."""
    config = getattr(model, "pretrained_cfg", None) or {}
    size = (1, *config["input_size"]) if config.get("input_size") else (1, 3, 224, 224)
    if shape:
        size = tuple(int(n) for n in shape.split("x"))
    return torch.randn(size, generator=torch.Generator().manual_seed(0))
