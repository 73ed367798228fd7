"""Which sites keep one share of their units, by role or by the user's globs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from infoprune.errors import UnknownName
from infoprune.families.roles import role_of
from infoprune.graph import Graph
from infoprune.layerwise.base import writers_of
from infoprune.planning.shares import matches
from infoprune.registry import nearest

Tied = bool | Sequence[str | Sequence[str]]


def check_tied(tied: Any, rates: Any) -> None:
    """Raise TypeError or ValueError unless `tied` says True, False, or which globs tie what."""
    if isinstance(tied, str):
        raise TypeError(f"tied is the text {tied!r:.60}; give a list: [{tied!r:.60}], or True for every role")
    if not isinstance(tied, bool | Sequence):
        raise TypeError(f"tied is {tied!r:.60}; give True for every role, or a list of globs such as ['*.mlp.fc1']")
    for one in () if isinstance(tied, bool) else tied:
        if not (isinstance(one, str) or (isinstance(one, Sequence) and all(isinstance(glob, str) for glob in one))):
            raise TypeError(
                f"tied holds {one!r:.60}; give globs such as '*.mlp.fc1', or lists of those that are one tie"
            )
    if tied and rates is not None:
        raise ValueError(
            "rates say what leaves every site, and tied is for budgets; give budgets=[...], or rates alone"
        )


def ties_of(graph: Graph, tied: Tied, among: Sequence[str]) -> list[list[int]]:
    """The places in `among` of the sites of each tie: those of one role, or those that a glob, or several, mean."""
    if tied is True:
        roles: dict[str, list[int]] = {}
        for place, site in enumerate(among):
            roles.setdefault(role_of(site), []).append(place)
        groups = list(roles.values())
    else:
        groups = [_meant(graph, [one] if isinstance(one, str) else one, among) for one in tied or ()]
    met: set[int] = set()
    for group in groups:
        if twice := met & set(group):
            raise ValueError(f"tied means {among[min(twice)]} twice; put globs that meet in one list: they are one tie")
        met |= set(group)
    return [group for group in groups if len(group) > 1]


def _meant(graph: Graph, globs: Sequence[str], among: Sequence[str]) -> list[int]:
    layers = [[site, *writers_of(graph, site)] for site in among]
    for glob in globs:
        if not any(matches(name, glob) for names in layers for name in names):
            hint = nearest(glob, [name for names in layers for name in names])
            raise UnknownName(f"tied names {glob!r}, which means no site; {hint}")
    return [place for place, names in enumerate(layers) if any(matches(n, glob) for n in names for glob in globs)]
