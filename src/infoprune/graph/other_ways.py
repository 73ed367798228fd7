"""Ways through a model's code that the example does not take: on other numbers, and in training mode."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from infoprune.graph.arguments import Arguments
from infoprune.graph.detectors import FEW_BOXES
from infoprune.graph.nested import numbers_of
from infoprune.graph.passes import Pass, smaller
from infoprune.graph.rules.base import tensors
from infoprune.graph.slicing import named_tensors

HUGE = 1e4  # numbers as large stand for minus infinity, or for something that is looked up
Operations = list[tuple[Any, ...]]


def other_ways(model: nn.Module, shown: Pass) -> list[Pass]:
    """The passes on which the model runs, and does something else than in `shown`.

    Pictures are tried at half their size, since which operations run does not depend on it.
    """
    brief, usual = smaller(shown), operations(model, smaller(shown))
    if usual is None:
        brief, usual = shown, operations(model, shown)
    differing = []
    for ways, briefly in ((other_numbers(shown), other_numbers(brief)), ([_training(shown)], [_training(brief)])):
        runs = zip(ways, (operations(model, way) for way in briefly), strict=True)
        way, done = next((run for run in runs if run[1] is not None), (shown, usual))
        differing += [way] if done != usual else []
    return differing


def on_other_numbers(model: nn.Module, shown: Pass) -> Pass | None:
    """The same call with other numbers in it, of which the model makes numbers; None if there is none."""
    ways = [*_in_twos(shown), *other_numbers(shown)]
    return next((way for way in ways if operations(model, way) is not None), None)


def _in_twos(shown: Pass) -> list[Pass]:
    """One example and another one beside it: what is centred over a batch of one is zero, and hides what made it."""
    if any(not tensor.dim() or len(tensor) != 1 for tensor in shown.inputs.tensors):
        return []
    return [replace(shown, inputs=_beside(shown.inputs, way.inputs)) for way in other_numbers(shown)]


def _beside(one: Arguments, other: Arguments) -> Arguments:
    others = iter(other.tensors)
    return one.map(lambda tensor: torch.cat([tensor, next(others)]))


def other_numbers(shown: Pass) -> list[Pass]:
    """The same call with other floating-point numbers in it, in ways that a model may take."""
    if not any(tensor.is_floating_point() and not tensor.is_meta for tensor in shown.inputs.tensors):
        return []
    return [replace(shown, inputs=changed(shown.inputs)) for changed in (negated, rescaled)]


def _training(shown: Pass) -> Pass:
    return replace(shown, training=True)


# --------------------------------------------------------------------------------------------------- the changes


def negated(inputs: Arguments) -> Arguments:
    """Of the other sign and in another order, as large as they were; what was one number throughout is many.

    Integers, truth values, infinities and what is `HUGE` stay: they say where, how long or which.
    """
    return inputs.map(lambda tensor: _moved(tensor, -1.0))


def rescaled(inputs: Arguments) -> Arguments:
    """In another order and half as large, for models that take no negative numbers."""
    return inputs.map(lambda tensor: _moved(tensor, 0.5))


def _moved(tensor: Tensor, factor: float) -> Tensor:
    if not tensor.is_floating_point() or not tensor.numel():
        return tensor
    varied = _varied(tensor)
    moved = varied.flatten().flip(0).view(tensor.shape)
    moved = torch.where(moved.abs() < HUGE, moved, varied)
    return torch.where(varied.abs() < HUGE, factor * moved, tensor)


def _varied(tensor: Tensor) -> Tensor:
    if bool((tensor != tensor.flatten()[0]).any()):
        return tensor
    noise = torch.rand(tensor.shape, generator=torch.Generator().manual_seed(1)).to(tensor) + 0.5
    return tensor + noise


# ------------------------------------------------------------------------------------------------ what a pass does


def operations(model: nn.Module, shown: Pass) -> Operations | None:
    """What the model does, operation by operation; None where it fails, or makes no numbers."""
    try:
        with torch.no_grad(), shown.ready(model, boxes=FEW_BOXES), _Noting(model) as noting:
            outputs = numbers_of(shown.inputs.run(model))
    except Exception:  # it takes other arguments in training, or no such numbers
        return None
    numbers = [tensor for tensor in outputs if tensor.numel()]
    if any(tensor.is_meta for tensor in numbers):
        return noting.done
    finite = not any(bool(tensor.isnan().any()) for tensor in numbers)
    return noting.done if finite and any(bool(tensor.any()) for tensor in numbers) else None


class _Noting(TorchDispatchMode):
    """Which operations run, what shapes they give and which of the model's tensors they read."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.names = {id(tensor): name for name, tensor in named_tensors(model).items()}
        self.done: Operations = []

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        out = func(*args, **(kwargs or {}))
        read = [self.names[id(t)] for t in tensors([*args, kwargs or {}]) if id(t) in self.names]
        self.done.append((func, read, [tuple(tensor.shape) for tensor in tensors(out)]))
        return out
