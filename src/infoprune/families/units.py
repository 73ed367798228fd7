"""What a skip unit is, as data: what stands in for it, where its branch ends, and what leaves with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from infoprune.graph.slots import Coupling

StandInKind = Literal["pass", "zero", "empty", "shortcut"]


class Step(NamedTuple):
    """One thing that a shortcut does: call a child of the removed module, or apply an activation."""

    kind: Literal["module", "function"]
    name: str


class StandIn(NamedTuple):
    """What takes the place of `module`.

    "pass" hands its first argument on; "zero" gives zeros of its shape; "empty" gives no channels at all;
    "shortcut" applies `steps` to it. `outputs` = n packs the result in a tuple of n, the others None.
    """

    module: str
    kind: StandInKind
    outputs: int = 0
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True)
class SkipUnit:
    """A residual branch, or a layer whose channels are concatenated, that can leave its network.

    `branch_end` is the module whose output is the branch's, T_l in the paper. Once the branches of all
    `siblings` (their ends, this one's included) are gone, `whole` takes the place of the module around them.
    `consumers` holds the slots of what reads a concatenated layer's channels, all of which leave.
    """

    name: str
    branch_end: str
    stand_ins: tuple[StandIn, ...]
    whole: StandIn | None = None
    siblings: tuple[str, ...] = ()
    consumers: Coupling | None = None
    lost: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
