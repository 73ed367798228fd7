"""Which plans a model has been through, in order, remembered for as long as the model lives."""

from __future__ import annotations

from collections.abc import MutableMapping

from torch import nn
from torch.utils.weak import WeakIdKeyDictionary

from infoprune.surgery.plan import Plan

# model -> the plans that were carried out on it
_plans: MutableMapping[nn.Module, tuple[Plan, ...]] = WeakIdKeyDictionary()


def note_plan(model: nn.Module, plan: Plan) -> None:
    """Say that this plan has just been carried out on the model."""
    _plans[model] = (*plans_of(model), plan)


def plans_of(model: nn.Module) -> tuple[Plan, ...]:
    """The plans that `prune_` carried out on this very object, first to last; a copy or a loaded model has none."""
    return _plans.get(model, ())
