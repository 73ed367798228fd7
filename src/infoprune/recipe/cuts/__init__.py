"""The prunings of a recipe, one after the other: each plans from the network as it is then."""

from __future__ import annotations

from torch import Tensor, nn

from infoprune.recipe.cuts.base import BASELINES as BASELINES
from infoprune.recipe.cuts.base import Cut as Cut
from infoprune.recipe.cuts.base import Decision as Decision
from infoprune.recipe.cuts.depth import depth_cuts
from infoprune.recipe.cuts.features import feature_cuts
from infoprune.recipe.cuts.joint import joint_cuts
from infoprune.recipe.cuts.tokens import token_cuts
from infoprune.recipe.cuts.width import width_cuts
from infoprune.recipe.sections import Recipe

ORDER = (depth_cuts, width_cuts, joint_cuts, token_cuts, feature_cuts)  # blocks, channels, tokens, what travels


def cuts_of(recipe: Recipe, model: nn.Module, x: Tensor) -> list[Cut]:
    """What the recipe cuts, in order."""
    in_order = [cut for cuts in ORDER for cut in cuts(recipe, model, x)]
    return [cut.named(f"cut-{i}") for i, cut in enumerate(in_order, 1)]
