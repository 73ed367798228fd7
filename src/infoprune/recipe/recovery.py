"""What a cut network is given before it is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from infoprune.compensation import Compensation, relative_
from infoprune.compensation.compensating import compensate_together_
from infoprune.compensation.norms import tracking_norms
from infoprune.compensation.pictures import FEWEST
from infoprune.compensation.survivors import Survivors
from infoprune.data import Task
from infoprune.errors import BadRecipe
from infoprune.finetune import Matching, Processes, Surroundings, match_
from infoprune.finetune.domain import ASKED
from infoprune.observe import kept_randomness
from infoprune.recipe.basis import Basis
from infoprune.recipe.evidence import first_of
from infoprune.recipe.sections import MatchSection, Recipe
from infoprune.recipe.task_kinds import KINDS
from infoprune.surgery import Plan


def check_pictures(recipe: Recipe, task: Task) -> None:
    """Raise BadRecipe where the data can't carry what the recipe fits on them."""
    if recipe.split is not None:
        return
    if recipe.export is not None and recipe.export.int8 and len(task.train) < FEWEST:
        raise BadRecipe(
            f"data.{task.name} gives {len(task.train)} pictures for the ranges of int8, which need {FEWEST} at least; "
            "give more, or export.int8: false"
        )
    if recipe.match is not None and len(task.train) < FEWEST:
        raise BadRecipe(
            f"data.{task.name} gives {len(task.train)} pictures to match blocks on, which needs {FEWEST} at least; "
            "give more, or match: false"
        )
    if recipe.compensate is None:
        return
    each = _fewest(min(recipe.compensate.samples, len(task.train)), recipe.data.batch, Processes.now().world)
    if each < FEWEST:
        raise BadRecipe(
            f"data.{task.name} gives every process {each} pictures to refit readers on, which needs {FEWEST} at least; "
            "give more, or compensate: false"
        )


def _fewest(pictures: int, batch: int, world: int) -> int:
    """How many pictures the process has that has the fewest, when processes take whole batches by turns."""
    sizes = [min(batch, pictures - begin) for begin in range(0, pictures, batch)]
    return min(sum(sizes[rank::world]) for rank in range(world))


def compensate(basis: Basis, samples: int, networks: Sequence[tuple[nn.Module, Plan]]) -> list[Compensation]:
    """Let what stayed in networks that plans left of the basis's say what left; in place, processes together."""
    us, kind = Processes.now(), KINDS[basis.task.kind]
    mine = first_of(basis.recipe, basis.task, samples, us.rank, us.world)
    pairs = [(model, [plan]) for model, plan in networks]
    loader, options = kind.calibration(mine), {"progress": basis.progress, "places": mine.places}
    with kept_randomness():
        return compensate_together_(pairs, basis.model, loader, samples, **options)


def match(basis: Basis, section: MatchSection, model: nn.Module, plan: Plan, around: Surroundings) -> Matching:
    """Let the blocks of `model`, which the plan left of the basis's, pass on what those do; processes together."""
    recipe = basis.recipe
    loader = [images for images, _ in first_of(recipe, basis.task, section.samples)]
    options: Any = {"steps": section.steps, "lr": section.lr, "samples": section.samples, "seed": recipe.seed}
    with kept_randomness():
        return match_(
            model, basis.model, loader, batch=recipe.data.batch, plan=plan, around=around, progress=False, **options
        )


def move_norms_(basis: Basis, model: nn.Module, plan: Plan) -> nn.Module:
    """Move the norms of `model` as far as the plan moved what they see, in place."""
    dense, device = basis.model, next(model.parameters()).device
    survivors = Survivors.of(dense, [plan])
    sizes = {name: norm.num_features for name, norm in tracking_norms(dense).items()}
    kept = {name: survivors.along(f"{name}.running_mean", 0, size) for name, size in sizes.items()}
    images = (x.to(device) for x, _ in first_of(basis.recipe, basis.task, ASKED))
    return relative_(model, dense, images, kept=kept)
