"""What was told of a network's sites and layers, where some of its blocks have left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, TypeVar

from torch import nn

from infoprune.graph import Graph

Value = TypeVar("Value")


def same_sites(shallow: Graph, dense: Graph) -> dict[str, str]:
    """Site by site, the dense one: a site may be called after a layer that left."""
    return {name: dense.places[place] for place, name in shallow.places.items() if place in dense.places}


def carried(values: Mapping[str, Value], dense: Graph, shallow: Graph) -> dict[str, Value]:
    """What was told of the dense network's sites, by the names that they have now."""
    return {name: values[site] for name, site in same_sites(shallow, dense).items() if site in values}


def carried_layers(options: Mapping[str, Any], dense: nn.Module, shallow: nn.Module) -> dict[str, Any]:
    """The options with those of the layers they name that are still there, as `shallow` has them."""
    kept = dict(options)
    for name in ("ignored_layers", "head_dims"):
        if kept.get(name):
            kept[name] = _still_there(kept[name], dense, shallow)
    if kept.get("num_heads"):
        names, now = _names(dense), dict(shallow.named_modules())
        heads = {names[id(module)]: count for module, count in kept["num_heads"].items()}
        kept["num_heads"] = {now[name]: count for name, count in heads.items() if name in now}
    return kept


def _still_there(layers: Iterable[Any], dense: nn.Module, shallow: nn.Module) -> list[str]:
    names, there = _names(dense), set(_names(shallow).values())
    keys = [layer if isinstance(layer, str) else names[id(layer)] for layer in layers]
    return [key for key in keys if key in there or any(fnmatchcase(name, key) for name in there)]


def _names(model: nn.Module) -> dict[int, str]:
    return {id(value): name for name, value in [*model.named_parameters(), *model.named_modules()]}
