"""What callbacks do between two steps of a training: surgery, and what left said by what stays."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import nn

from infoprune.compensation import Compensation, compensate_
from infoprune.graph.copies import structural_copy
from infoprune.surgery import Plan


def cut_(
    model: nn.Module, plan: Plan, prune: Callable[[nn.Module], Any], pictures: Iterable[Any] | None
) -> Compensation | None:
    """Let `prune` carry out the plan in place; with pictures, refit what reads what left."""
    dense = structural_copy(model)
    prune(model)
    return None if pictures is None else compensate_(model, dense, pictures, plan=plan, progress=False)
