"""A network by its name: ours, timm's or torchvision's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from infoprune.errors import UnknownName
from infoprune.models import models
from infoprune.models.checkpoint import load_weights
from infoprune.recipe.sections import Recipe
from infoprune.registry import nearest

SOURCES = ("infoprune", "timm", "torchvision")


def check_name(name: str) -> tuple[str, str]:
    """(source, name within it); "timm:" and the like in front settle which source."""
    wanted, _, bare = name.rpartition(":")
    for source, has in (("infoprune", models.__contains__), ("timm", _in_timm), ("torchvision", _in_torchvision)):
        if wanted in ("", source) and has(bare):
            return source, bare
    raise UnknownName(f"neither infoprune nor timm nor torchvision has a model {name!r}; {nearest(name, _all_names())}")


def build_network(
    name: str, *, num_classes: int | None = None, weights: Path | None = None, pretrained: bool = False, seed: int = 0
) -> nn.Module:
    """The dense model in evaluation mode; `pretrained` fetches what its library publishes."""
    source, bare = check_name(name)
    extra: dict[str, Any] = {} if num_classes is None else {"num_classes": num_classes}
    torch.manual_seed(seed)
    if source == "infoprune":
        if pretrained:
            raise UnknownName(f"{name} has no published weights; train it or give its weights as a file")
        model = models[bare](**extra)
    elif source == "timm":
        import timm

        model = timm.create_model(bare, pretrained=pretrained, **extra)
    else:
        import torchvision

        model = torchvision.models.get_model(bare, weights="DEFAULT" if pretrained else None, **extra)
    if weights is not None:
        load_weights(model, weights)
    return model.eval()


def network_of(recipe: Recipe, classes: int, *, published: bool = True) -> nn.Module:
    """The dense network before any training; its architecture alone without the `published` weights."""
    section = recipe.model
    given = section.pretrained or section.weights is not None
    return build_network(
        section.name,
        num_classes=section.num_classes or (None if given else classes),
        weights=Path(section.weights) if published and section.weights else None,
        pretrained=published and section.pretrained,
        seed=recipe.seed,
    )


def _in_timm(name: str) -> bool:
    import timm

    return timm.is_model(name.split(".")[0])


def _in_torchvision(name: str) -> bool:
    import torchvision

    return name in torchvision.models.list_models()


def _all_names() -> list[str]:
    import timm
    import torchvision

    return [*models, *timm.list_models(), *torchvision.models.list_models()]
