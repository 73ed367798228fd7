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
    """As many tokens stay as a share of the MACs pays for."""

    kind: ClassVar[str] = "tokens"

    section: TokensSection

    def decide(self, basis: Basis) -> Decision:
        return Decision(plan(basis.model, budget=macs(keep=self.section.keep), score=self.section.score))

    def words(self) -> str:
        return f"tokens (macs {self.section.keep:g}), {self.afterwards}"
