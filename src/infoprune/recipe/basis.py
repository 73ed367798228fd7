"""What a cut is decided by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from infoprune.data import Task
from infoprune.recipe.sections import Recipe


@dataclass(frozen=True)
class Basis:
    """The network as it is now, with an example of its input and the data to look at.

    In a `rehearsal` the data are noise, and what takes long to measure is left out. `stop` says whether somebody asked
    to stop.
    """

    recipe: Recipe
    model: nn.Module
    x: Tensor
    task: Task
    progress: bool = False
    rehearsal: bool = False
    stop: Callable[[], bool] = lambda: False


def example(task: Task) -> Tensor:
    """One picture of noise."""
    return torch.randn(1, *task.shape, generator=torch.Generator().manual_seed(0))
