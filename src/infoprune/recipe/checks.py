"""What a recipe asks of its data and network beyond what its sections can know."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from infoprune.data import Task
from infoprune.errors import BadRecipe, Infeasible
from infoprune.recipe.sections import Recipe
from infoprune.recipe.task_kinds import KINDS


def check_kind(recipe: Recipe, task: Task) -> None:
    """Raise BadRecipe where sections need targets of another kind than the data have."""
    name, kind, tuning = f"data.{task.name}", KINDS[task.kind], recipe.finetune
    if recipe.depth is not None and not kind.named:
        raise BadRecipe(f"depth looks at class labels, which {name} has none of; prune by budget:")
    if recipe.split is not None and not kind.mapped:
        raise BadRecipe(f"split compares maps of several tasks, which {name} has none of; see infoprune list data")
    if (tuning.mixup or tuning.cutmix) and not kind.named:
        raise BadRecipe(f"finetune.mixup and finetune.cutmix mix class labels, which {name} has none of; give 0")
    if tuning.distill and not kind.distils:
        raise BadRecipe(f"finetune.distill is {tuning.distill}; detectors learn from their targets alone, give 0")


def check_classes(recipe: Recipe, task: Task, model: nn.Module, x: Tensor) -> None:
    """Raise Infeasible where the network names fewer classes than the data hold."""
    count = _classes(task, model, x)
    if count is not None and count < task.classes:
        raise Infeasible(
            f"model.{recipe.model.name} has {count} classes and the data {task.classes}; set "
            f"model.num_classes: {task.classes}"
        )


def check_width(place: object, model: nn.Module, task: Task) -> None:
    """Raise Infeasible where a network that is there already names fewer classes than the data hold."""
    count = _classes(task, model, torch.zeros(1, *task.shape))
    if count is not None and count < task.classes:
        raise Infeasible(f"{place} has {count} classes and the data {task.classes}; give the data that it was made for")


def _classes(task: Task, model: nn.Module, x: Tensor) -> int | None:
    """How many classes the network names; None where it does something else."""
    if not KINDS[task.kind].named:
        return None
    with torch.no_grad():
        output = copy.copy(model).eval()(x)
    return output.shape[1] if isinstance(output, Tensor) and output.dim() == 2 else None
