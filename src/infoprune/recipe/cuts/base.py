"""What a cut of a recipe is: it decides, says what it will do, and what it is compared with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, TypeVar, final

import torch_pruning as tp
from torch import nn

from infoprune.recipe.basis import Basis
from infoprune.recipe.sections import Recipe, epochs
from infoprune.report.model import Allocation, SiteChange
from infoprune.surgery import Plan

BASELINES: dict[str, Callable[[], Any]] = {
    "random": tp.importance.RandomImportance,
    "l2": lambda: tp.importance.MagnitudeImportance(p=2),
}
Some = TypeVar("Some", bound="Cut")


@dataclass(frozen=True)
class Decision:
    """A plan with what the report tells about it, and the plans of its rivals."""

    plan: Plan
    sites: tuple[SiteChange, ...] = ()
    allocation: Allocation | None = None
    rivals: Mapping[str, Plan] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Cut(ABC):
    """One pruning of `recipe`; `name` is its folder in a run."""

    kind: ClassVar[str]  # as told.json and what is shown have it
    tuned: ClassVar[bool] = True  # the network is trained afterwards
    timed: ClassVar[bool] = True  # what it saves shows in the network's own time

    recipe: Recipe
    name: str = ""

    @final
    def named(self: Some, name: str) -> Some:
        return replace(self, name=name)

    @abstractmethod
    def decide(self, basis: Basis) -> Decision:
        """The plan for the basis's network."""

    @abstractmethod
    def words(self) -> str:
        """What it will do."""

    def unsure(self) -> str:
        """Why its price is not known before it has seen the data; empty where it is."""
        return ""

    def ends(self, basis: Basis) -> Sequence[nn.Module]:
        """What it leaves of the basis's network by the choices that cost least and most; empty where there is one."""
        return ()

    @property
    def trial_epochs(self) -> float:
        """How long the network is trained at most before it is decided."""
        return 0.0

    # ------------------------------------------------------------------------------------------------ afterwards

    @final
    @property
    def compensated(self) -> bool:
        """Whether what left is said by what stays before anything is trained."""
        return self.tuned and self.recipe.compensate is not None

    @final
    @property
    def matched(self) -> bool:
        """Whether blocks are trained to pass on what the dense ones do, before the whole network is."""
        return self.tuned and self.recipe.match is not None

    @final
    @property
    def afterwards(self) -> str:
        """What follows surgery."""
        section, tuning = self.recipe.compensate, self.recipe.finetune
        text = f"then readers refitted from {section.samples:,} pictures, " if section and self.tuned else ""
        match = self.recipe.match if self.matched else None
        text += f"then blocks matched in {match.steps:,} steps, " if match else ""
        rate = " at a rate that is tried first" if tuning.probe else ""
        return f"{text}then {epochs(tuning.epochs)}{rate}"

    # ---------------------------------------------------------------------------------------------- comparisons

    @property
    def rivals(self) -> tuple[str, ...]:
        """The simpler choices that stand beside it, as BASELINES name them."""
        return ()

    @property
    def epochs(self) -> float:
        """For how long it and its rivals are trained to be compared; 0 where they are not."""
        return 0.0

    @final
    @property
    def probe(self) -> float:
        """The share of `epochs` for which each of them tries its rates: as long as the tuning itself, at most half."""
        tuning = self.recipe.finetune
        return min(0.5, tuning.probe * tuning.epochs / self.epochs) if self.epochs else 0.0

    @final
    @property
    def ours(self) -> str:
        """The phase of a run that stands beside the rivals."""
        return f"{self.name}-ours" if self.epochs else self.name

    @final
    def phase_of(self, rival: str) -> str:
        return f"{self.name}-{rival}"
