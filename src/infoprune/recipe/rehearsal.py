"""Every cut decided once on noise, before anything is trained: what a recipe can get wrong is found in seconds."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from torch import nn

from infoprune.data import Noise, Task
from infoprune.errors import BadRecipe, InfopruneError
from infoprune.finetune import Processes
from infoprune.planning.untrained import known_to_be_untrained
from infoprune.recipe.basis import Basis, example
from infoprune.recipe.cuts import Cut
from infoprune.recipe.cuts.width import Width
from infoprune.recipe.sections import BudgetSection, Recipe
from infoprune.surgery import prune_

BATCH, BATCHES = 4, 4  # pictures of noise; every process sees at least one batch


def rehearsed(recipe: Recipe, dense: nn.Module, task: Task, cuts: Sequence[Cut]) -> nn.Module:
    """A copy of the dense network as all cuts leave it, trained on nothing.

    Counts depend on weights and budgets, so that prices are those of the run wherever no cut is `unsure`.
    """
    model = copy.deepcopy(dense)
    for cut in cuts:
        basis = _noisy(recipe, model, task)
        with _said_of(cut):
            plan = cut.decide(basis).plan
        model = prune_(model, basis.x, plan, certify=False)
    return model


def rehearsed_family(
    recipe: Recipe, dense: nn.Module, task: Task, cut: Width, sizes: Sequence[BudgetSection]
) -> Iterator[nn.Module]:
    """A copy of the dense network as the cut leaves it at each size, trained on nothing."""
    basis = _noisy(recipe, copy.deepcopy(dense), task)
    with _said_of(cut):
        decisions = cut.decide_family(basis, sizes)
    for decision in decisions:
        yield prune_(copy.deepcopy(dense), basis.x, decision.plan, certify=False)


def rehearsed_ends(recipe: Recipe, dense: nn.Module, task: Task, cut: Cut) -> Sequence[nn.Module]:
    """What a cut leaves of the dense network by the choices that cost least and most, trained on nothing."""
    with _said_of(cut):
        return cut.ends(_noisy(recipe, copy.deepcopy(dense), task))


def _noisy(recipe: Recipe, model: nn.Module, task: Task) -> Basis:
    noise = Noise(BATCH * max(BATCHES, Processes.now().world), task.shape)
    x = example(task).to(next(model.parameters()).device)
    return Basis(_quick(recipe), model, x, replace(task, train=noise, held_out=noise), rehearsal=True)


@contextmanager
def _said_of(cut: Cut) -> Iterator[None]:
    """What goes wrong is an error of the recipe's."""
    try:
        with known_to_be_untrained():
            yield
    except InfopruneError:
        raise
    except (ValueError, TypeError) as error:
        raise BadRecipe(f"{cut.kind} cannot be planned: {error}") from error


def _quick(recipe: Recipe) -> Recipe:
    """The recipe for a few pictures."""
    return replace(recipe, data=replace(recipe.data, batch=BATCH, calibration=BATCH * BATCHES))
