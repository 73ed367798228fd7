"""Tokens of a vision transformer leave, image by image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from infoprune.budgets import macs
from infoprune.recipe.basis import Basis
from infoprune.recipe.cuts.base import Cut, Decision
from infoprune.recipe.sections import Recipe, TokensSection
from infoprune.tokens import plan


def token_cuts(recipe: Recipe, model: nn.Module, x: Tensor) -> list[Cut]:
    return [] if recipe.tokens is None else [Tokens(recipe=recipe, section=recipe.tokens)]


@dataclass(frozen=True, kw_only=True)
class Tokens(Cut):
    """As many tokens stay as a share of the MACs pays for, or as the schedule says."""

    kind: ClassVar[str] = "tokens"

    section: TokensSection

    def decide(self, basis: Basis) -> Decision:
        section, schedule = self.section, self._schedule()
        budget = None if section.keep is None else macs(keep=section.keep)
        return Decision(plan(basis.model, schedule=schedule or None, budget=budget, score=section.score))

    def words(self) -> str:
        each = ", ".join(f"{share:g} before block {block}" for block, share in self._schedule().items())
        return f"tokens ({each or f'macs {self.section.keep:g}'}), {self.afterwards}"

    def _schedule(self) -> dict[int | str, float]:
        """Numbers are words in a recipe."""
        return {int(block) if block.isdigit() else block: share for block, share in self.section.schedule.items()}
