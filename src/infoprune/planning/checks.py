"""What plan() was given, checked at its door: one sentence for what is not what it should be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch_pruning as tp
from torch import nn

from infoprune.budgets import Budget
from infoprune.graph.arguments import Arguments
from infoprune.require import require_importance, require_numbers, require_seen

CHECKED = ("budgets", "rates", "num_heads", "solver", "ignored_layers", "rounding")
OF_GRADIENTS = (tp.importance.GroupTaylorImportance, tp.importance.GroupHessianImportance)


def check(model: nn.Module, example_inputs: Any, importance: Any, terms: Mapping[str, Any]) -> None:
    """Raise TypeError, ValueError or BadWeights for the first argument that can't be meant."""
    require_seen()
    require_numbers(model, Arguments.of(example_inputs).tensors)
    _check_importance(model, importance)
    _check_terms(**{name: terms[name] for name in CHECKED})
    if terms["shapes_alone"] and (terms["depth"] is not None or terms["tokens"] is not None):
        raise ValueError("depth and tokens go by what networks compute; leave them out, or shapes_alone")
    for name, method, maker in (("depth", "plan", "DepthPath"), ("tokens", "within", "TokenPath")):
        if terms[name] is not None and not callable(getattr(terms[name], method, None)):
            raise TypeError(f"{name} is {terms[name]!r:.60}; give an infoprune.{maker} or leave it out")


def listed(budgets: Budget | Iterable[Budget]) -> list[Budget]:
    """One budget or several as a list; TypeError for anything else in it."""
    wanted = [budgets] if isinstance(budgets, Budget) else list(budgets)
    odd = next((b for b in wanted if not isinstance(b, Budget)), None)
    if odd is not None:
        raise TypeError(f"budgets holds {odd!r}; make budgets with infoprune.budgets.macs(keep=0.5) and the like")
    return wanted


def _check_importance(model: nn.Module, importance: Any) -> None:
    require_importance(importance)
    if isinstance(importance, OF_GRADIENTS) and all(parameter.grad is None for parameter in model.parameters()):
        kind = type(importance).__name__
        raise ValueError(f"{kind} reads gradients and the model has none; call backward() on a loss first")


def _check_terms(*, budgets: Any, rates: Any, num_heads: Any, solver: Any, ignored_layers: Any, rounding: Any) -> None:
    if not isinstance(budgets, Budget | Iterable) or isinstance(budgets, str):
        raise TypeError(f"budgets is {budgets!r:.60}; give e.g. [infoprune.budgets.macs(keep=0.5)]")
    if rates is not None and (isinstance(rates, bool) or not isinstance(rates, int | float | Mapping)):
        raise TypeError(f"rates is {rates!r:.60}; give the share that leaves, such as 0.5, or shares by site name")
    if rounding not in ("up", "down") or (rounding == "down" and rates is None):
        raise ValueError(f"rounding is {rounding!r:.60}; give 'up', or 'down' with rates; budgets are never exceeded")
    if num_heads is not None and not isinstance(num_heads, Mapping):
        raise TypeError(f"num_heads is {num_heads!r:.60}; give heads by layer: {{model.attn.qkv: 3}}")
    odd = next((heads for heads in (num_heads or {}).values() if not isinstance(heads, int)), None)
    if odd is not None:
        raise TypeError(f"num_heads says {odd!r:.60} of a layer; give how many heads it has, a whole number")
    if solver is not None and not isinstance(solver, str) and not callable(solver):
        raise TypeError(f"solver is {solver!r:.60}; give a name of `infoprune list solvers`, or a function")
    if not isinstance(ignored_layers, Iterable):
        raise TypeError(f"ignored_layers is {ignored_layers!r:.60}; give a list of layers, names or globs")
    if isinstance(ignored_layers, str):
        raise TypeError(f"ignored_layers is the text {ignored_layers!r:.60}; give a list: [{ignored_layers!r:.60}]")
