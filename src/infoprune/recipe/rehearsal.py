"""Every cut decided once on noise, before anything is trained: what a recipe can get wrong is found in seconds."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from infoprune.data import Noise, Task
from infoprune.errors import BadRecipe, InfopruneError
from infoprune.finetune import Processes
from infoprune.planning.untrained import known_to_be_untrained
from infoprune.recipe.basis import Basis, example
from infoprune.recipe.cuts import Cut
from infoprune.recipe.sections import Recipe
from infoprune.surgery import prune_

BATCH, BATCHES = 4, 4  # pictures of noise; every process sees at least one batch


def rehearsed(recipe: Recipe, dense: nn.Module, task: Task, cuts: Sequence[Cut]) -> nn.Module:
    """A copy of the dense network as all cuts leave it, trained on nothing.

    Counts depend on weights and budgets, so that prices are those of the run wherever no cut is `unsure`.
    """
    model, small = copy.deepcopy(dense), _quick(recipe)
    noise = Noise(BATCH * max(BATCHES, Processes.now().world), task.shape)
    x = example(task).to(next(dense.parameters()).device)
    for cut in cuts:
        basis = Basis(small, model, x, replace(task, train=noise, held_out=noise), rehearsal=True)
        try:
            with known_to_be_untrained():
                plan = cut.decide(basis).plan
        except InfopruneError:
            raise
        except (ValueError, TypeError) as error:
            raise BadRecipe(f"{cut.kind} cannot be planned: {error}") from error
        model = prune_(model, x, plan, certify=False)
    return model


def _quick(recipe: Recipe) -> Recipe:
    """The recipe for a few pictures."""
    return replace(recipe, data=replace(recipe.data, batch=BATCH, calibration=BATCH * BATCHES))
