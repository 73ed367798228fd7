"""A network by its name: ours, timm's or torchvision's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from infoprune.artifact.architecture import Architecture, Source
from infoprune.data import View
from infoprune.errors import UnknownName, first_line
from infoprune.models import models, own_network, shape_for
from infoprune.models.checkpoint import load_weights
from infoprune.own_code import named_in
from infoprune.recipe.sections import ModelSection, Recipe
from infoprune.registry import nearest


def check_name(name: str) -> tuple[Source, str]:
    """(source, name within it); "timm:" and the like in front settle which source."""
    wanted, _, bare = name.rpartition(":")
    has_it: dict[Source, Callable[[str], bool]] = {
        "infoprune": models.__contains__, "timm": _in_timm, "torchvision": _in_torchvision,
    }  # fmt: skip
    for source, has in has_it.items():
        if wanted in ("", source) and has(bare):
            return source, bare
    raise UnknownName(f"neither infoprune nor timm nor torchvision has a model {name!r}; {nearest(name, _all_names())}")


def build_network(
    name: str,
    *,
    file: str | Path | None = None,
    options: Mapping[str, Any] | None = None,
    num_classes: int | None = None,
    weights: Path | None = None,
    pretrained: bool = False,
    seed: int = 0,
    classes: int | None = None,
) -> nn.Module:
    """The dense model in evaluation mode.

    Args:
        name: Of a network of infoprune, timm or torchvision, or of what `file` defines.
        file: A Python file whose `name` makes the network.
        options: Arguments of its builder.
        num_classes: One more of them.
        weights: A file of weights to load.
        pretrained: Fetch what its library publishes; nothing else is fetched.
        seed: Of new weights.
        classes: Of the data, for networks that take a number of classes and were told none.
    """
    arguments: dict[str, Any] = {**(options or {}), **({} if num_classes is None else {"num_classes": num_classes})}
    torch.manual_seed(seed)
    if file is not None:
        if pretrained:
            raise UnknownName(f"{name} has no published weights; give its weights as a file")
        model = own_network(Path(file), name, arguments, classes=classes)
    else:
        extra = {} if classes is None else {"num_classes": classes}
        model = _registered(*check_name(name), {**extra, **arguments}, pretrained=pretrained)
    if weights is not None:
        load_weights(model, weights)
    return model.eval()


def network_of(recipe: Recipe, classes: int | None, *, published: bool = True) -> nn.Module:
    """The dense network before any training; its architecture alone without the `published` weights."""
    section = recipe.model
    has_weights = section.pretrained or section.weights is not None
    return build_network(
        section.name,
        file=section.file,
        options=section.options,
        num_classes=section.num_classes,
        weights=Path(section.weights) if published and section.weights else None,
        pretrained=published and section.pretrained,
        seed=recipe.seed,
        classes=None if has_weights and section.file is None else classes,
    )


def input_shape(section: ModelSection) -> tuple[int, int, int] | None:
    """Of the picture that the network was made for, channels first; None for own networks that say nothing of it."""
    view, channels = view_of(section), int(section.options.get("in_chans", 3))
    if section.file is None and (shape := _made_for(section)) is not None:
        return shape
    if view is None or view.size is None:
        return None if section.file is not None else (channels, 224, 224)
    return channels, view.size, view.size


def _made_for(section: ModelSection) -> tuple[int, int, int] | None:
    source, bare = check_name(section.name)
    return shape_for(bare) if source == "infoprune" else None


def view_of(section: ModelSection) -> View | None:
    """How the network wants to see pictures, as its library says; None where nothing is known."""
    if section.file is not None:
        config = getattr(named_in(Path(section.file), section.name), "pretrained_cfg", None)
        return View.of(config) if config else None
    if not section.name:
        return None
    source, bare = check_name(section.name)
    if source == "infoprune":
        shape = shape_for(bare)
        return View(size=shape[1]) if shape else None
    if source == "timm":
        import timm

        config = timm.get_pretrained_cfg(bare)
        return View.of(config.to_dict()) if config else None
    return _torchvision_view(bare)


def _registered(source: Source, name: str, arguments: Mapping[str, Any], *, pretrained: bool) -> nn.Module:
    if pretrained and source == "infoprune":
        raise UnknownName(f"{name} has no published weights; train it or give its weights as a file")
    try:
        if not pretrained:
            return Architecture(source, name, arguments).build()
        if source == "timm":
            import timm

            return timm.create_model(name, pretrained=True, **arguments)
        import torchvision

        return torchvision.models.get_model(name, weights="DEFAULT", **arguments)
    except TypeError as error:
        raise UnknownName(f"{name} can't be built with {', '.join(arguments)} ({first_line(error)})") from error


def _torchvision_view(name: str) -> View | None:
    """What the transforms of its published weights do."""
    import torchvision

    weights = torchvision.models.get_model_weights(name).__members__.get("DEFAULT")
    transforms: Any = None if weights is None else weights.transforms()
    if not hasattr(transforms, "crop_size"):
        return None
    size, resized = transforms.crop_size[0], transforms.resize_size[0]
    way = transforms.interpolation.value
    return View(size, tuple(transforms.mean), tuple(transforms.std), size / resized, way)


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
