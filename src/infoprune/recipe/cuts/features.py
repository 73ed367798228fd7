"""Fewer features of one layer travel; the network stays as it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from infoprune.recipe.basis import Basis
from infoprune.recipe.cuts.base import BASELINES, Cut, Decision
from infoprune.recipe.sections import Recipe, SplitSection
from infoprune.recipe.split_features import orders_of, plan_of, require_split_point
from infoprune.recipe.sweeping import require_encoders, ways_of


def feature_cuts(recipe: Recipe, model: nn.Module, x: Tensor) -> list[Cut]:
    return [] if recipe.split is None else [Features(recipe=recipe, section=recipe.split)]


@dataclass(frozen=True, kw_only=True)
class Features(Cut):
    """A share of the features travels, best first by information; what travels is timed by its bytes."""

    kind: ClassVar[str] = "features"
    tuned: ClassVar[bool] = False
    timed: ClassVar[bool] = False

    section: SplitSection

    def decide(self, basis: Basis) -> Decision:
        require_split_point(basis.model, self.section.at, basis.x)
        if basis.rehearsal and self.recipe.sweep is not None:
            require_encoders(self.recipe.sweep)
        orders, saturated = orders_of(basis.recipe, self.section, basis.model, basis.task)
        ours = plan_of(self.section, orders.pop("ours"), basis.x, saturated=saturated)
        return Decision(ours, rivals={name: plan_of(self.section, order, basis.x) for name, order in orders.items()})

    def words(self) -> str:
        rest = "the others are zero" if self.section.qp is None else f"the others at QP {self.section.qp}"
        sweep, text = self.recipe.sweep, f"{self.section.share:.0%} of the features of {self.section.at} travel, {rest}"
        if sweep is None:
            return text
        return f"{text}; every ranking is compared at {len(ways_of(sweep))} ways of sending, {sweep.pictures} pictures"

    @property
    def rivals(self) -> tuple[str, ...]:
        return tuple(BASELINES)
