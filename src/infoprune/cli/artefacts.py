"""Artefacts where the command line names them: a directory of their own, or that of a run."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import nn

from infoprune.artifact import load, read_config
from infoprune.artifact.layout import CONFIG, WEIGHTS
from infoprune.errors import BadRecipe
from infoprune.models import own_network
from infoprune.own_code import file_and_name
from infoprune.recipe.folder import RECIPE
from infoprune.recipe.reading import kept_recipe, set_in
from infoprune.recipe.sections import ModelSection

ARTEFACT = "artefact"


def artefact_in(directory: Path) -> Path:
    """The directory itself, or the artefact in that of a run."""
    inside = directory / ARTEFACT
    return inside if (inside / CONFIG).is_file() and not (directory / CONFIG).is_file() else directory


def loaded(path: Path, arguments: argparse.Namespace) -> tuple[Path, nn.Module, Callable[[], nn.Module] | None]:
    """Where the artefact lies, the pruned model, and what builds its dense network if the user named that."""
    place = artefact_in(path)
    if not (place / CONFIG).is_file():
        raise BadRecipe(f"{path} is neither an artefact's directory nor that of a finished run")
    factory = _factory(place, path, arguments)
    return place, load(place, factory=factory, member=arguments.member), factory


def section_of(place: Path, arguments: argparse.Namespace) -> ModelSection:
    """The artefact's dense network as a recipe names it; without a name where no recipe could."""
    architecture = read_config(place, member=arguments.member).architecture
    if architecture.source == "factory":
        own = file_and_name(arguments.model)
        assert own is not None
        return ModelSection(own[1], file=str(own[0].resolve()))
    known = architecture.source in ("timm", "torchvision", "infoprune")
    return ModelSection(f"{architecture.source}:{architecture.name}" if known else "")


def _factory(place: Path, path: Path, arguments: argparse.Namespace) -> Callable[[], nn.Module] | None:
    """What --model says builds the dense network; None where a registry does."""
    architecture, builder = read_config(place, member=arguments.member).architecture, arguments.model
    if architecture.source != "factory":
        if builder is not None:
            raise BadRecipe(f"--model is not needed: {place} is made from {architecture.source}:{architecture.name}")
        return None
    own = None if builder is None else file_and_name(builder)
    if own is None:
        raise BadRecipe(
            f"{place} is made from {architecture.name}, which no registry builds; add --model FILE.py:NAME, which does"
        )
    options = _options(path, own[1], arguments.set)
    classes = _classes(place, own_network(*own, options))
    return lambda: own_network(*own, options, classes=classes)


def _options(path: Path, name: str, changes: Sequence[str]) -> dict[str, Any]:
    """What the network is made with: as the run had it, changed by --set model.options.KEY=VALUE."""
    kept = path / RECIPE
    model = kept_recipe(kept).model if kept.is_file() else None
    sections: dict[str, Any] = {"model": {"options": dict(model.options) if model and model.name == name else {}}}
    for change in changes:
        if change.startswith("model."):
            set_in(sections, change)
    return sections["model"]["options"]


def _classes(place: Path, usual: nn.Module) -> int | None:
    """How many classes the artefact has: as many as its head's bias, the last vector of the usual network, is long."""
    last = next((name for name, tensor in reversed(usual.state_dict().items()) if tensor.dim() == 1), None)
    with safe_open(place / WEIGHTS, "pt") as file:  # of a family, keys have the member's name in front
        bias = next((key for key in file.keys() if key.rpartition("/")[2] == last), None)  # noqa: SIM118 - no mapping
        return None if bias is None else file.get_slice(bias).get_shape()[0]
