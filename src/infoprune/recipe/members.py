"""A recipe that lists several sizes as one recipe a member."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from infoprune.recipe.cuts import Cut
from infoprune.recipe.cuts.width import Width
from infoprune.recipe.sections import BudgetSection, Recipe


def sizes_of(recipe: Recipe) -> dict[str, BudgetSection]:
    """The budget of each member by its name, largest first; empty where there is one size."""
    return {} if recipe.budget is None else recipe.budget.sizes


def members_of(recipe: Recipe) -> dict[str, Recipe]:
    """The recipe of each member by its name, as it would be alone."""
    return {name: replace(recipe, budget=section) for name, section in sizes_of(recipe).items()}


def width_of(cuts: Sequence[Cut]) -> Width:
    """The one cut of a member."""
    [cut] = cuts
    assert isinstance(cut, Width)
    return cut
