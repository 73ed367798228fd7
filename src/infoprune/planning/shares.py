"""Floors and rates that differ from layer to layer, by name, subtree, glob or module."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Mapping
from fnmatch import fnmatchcase
from typing import Any, Literal, TypeVar

from torch import nn

from infoprune.errors import UnknownName
from infoprune.graph import Graph, Site
from infoprune.layerwise.base import writers_of
from infoprune.registry import nearest

LEAST = 0.1  # share of the units that stays where nothing is said
Share = float | int
Shares = Share | Mapping[Any, Share] | Callable[[Graph], Mapping[str, Share]]  # called: site by site, no keys
Rounding = Literal["up", "down"]
Value = TypeVar("Value")


def by_name(model: nn.Module, shares: Any, what: str) -> Any:
    """The same with the names of modules in the place of modules; TypeError for keys of any other kind."""
    if not isinstance(shares, Mapping):
        return shares
    names = {id(module): name for name, module in model.named_modules()}
    values = {}
    for key, value in shares.items():
        name = key if isinstance(key, str) else names.get(id(key))
        if name is None:
            kind = type(key).__name__
            raise TypeError(f"{what} names a {kind} that is not in the model; give its modules, names or globs")
        values[name] = value
    return values


def per_site(
    graph: Graph, shares: Mapping[str, Value], what: str, *, among: Container[str] | None = None
) -> dict[str, Value]:
    """site -> what the last key that means it says, of all sites or those `among`; absent where no key means it.

    A key means the site of that name, or else all sites to which layers write whose names it matches as a glob, or that
    lie in the subtree of that name. A key that means none is an error.
    """
    values: dict[str, Value] = {}
    sites = [site.name for site in graph.sites if among is None or site.name in among]
    layers = {site: [site, *writers_of(graph, site)] for site in sites}
    for key, value in shares.items():
        meant = [key] if key in layers else [s for s, names in layers.items() if any(matches(n, key) for n in names)]
        if not meant:
            known = [*layers, *(name for names in layers.values() for name in names)]
            raise UnknownName(f"{what} names {key!r}, which is not a site; {nearest(key, list(dict.fromkeys(known)))}")
        values |= dict.fromkeys(meant, value)
    return values


def matches(name: str, key: str) -> bool:
    """Whether a layer's name is the key, lies in its subtree, or is what it is a glob for."""
    return name == key or name.startswith(f"{key}.") or fnmatchcase(name, key)


def check_floor(floor: Any) -> None:
    """Raise ValueError unless it is a share or a number, or a mapping to such; what is called was checked before."""
    if callable(floor):
        return
    for one in floor.values() if isinstance(floor, Mapping) else [floor]:
        if not (0 < one <= 1 if isinstance(one, float) else isinstance(one, int) and one >= 1):
            raise ValueError(
                f"floor is {one!r}; give the fraction of units that always stays, or their number as an int"
            )


def usual(floor: Shares) -> Share:
    """The floor of what no key means."""
    return floor if isinstance(floor, float | int) else LEAST


def floors_by_site(graph: Graph, floor: Shares) -> Mapping[str, Share]:
    """site -> its floor, where one was told of it in particular."""
    if callable(floor):
        return floor(graph)
    return per_site(graph, floor, "floor") if isinstance(floor, Mapping) else {}


def floors(graph: Graph, floor: Shares) -> dict[str, int]:
    """site -> the least number of units that stays; `LEAST` of them where a mapping says nothing."""
    own_floors = floors_by_site(graph, floor)
    return {site.name: least(own_floors.get(site.name, usual(floor)), site) for site in graph.sites}


def least(floor: Share, site: Site) -> int:
    return max(1, math.ceil(floor * site.size - 1e-9) if isinstance(floor, float) else min(floor, site.size))


def at_rate(rate: float, size: int, step: int, rounding: Rounding) -> int:
    """How many of `size` units stay where a share of them leaves, in multiples of `step`; at least one.

    "up": ceil((1 - p) n), as the capacity paper prints it. "down": int(n (1 - p)) to the letter, as torch-pruning has
    it, in floating point: a rate of 0.9 leaves none of 10, and so one.
    """
    if rounding == "up":
        kept = math.ceil((1 - rate) * size - 1e-9)
        return min(size, -(-max(1, kept) // step) * step)
    return min(size, max(step, int(size * (1 - rate)) // step * step))


def shown(shares: Shares) -> Any:
    """As a plan can hold it."""
    return [f"{name}={share}" for name, share in shares.items()] if isinstance(shares, Mapping) else shares
