"""What stands where a module was after a skip unit has left: a pass-through, zeros, nothing, or the shortcut."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from infoprune.errors import BadArtifact
from infoprune.families.units import StandIn, Step
from infoprune.surgery.checked import fields_of, integer, name_of, sequence

FUNCTIONS = {"relu": F.relu, "silu": F.silu, "gelu": F.gelu, "hardswish": F.hardswish}
HOOKS = ("_forward_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called", "_forward_pre_hooks",
         "_forward_pre_hooks_with_kwargs")  # fmt: skip


class Replacement(nn.Module):
    """Stands where a module was, under its name. Takes what the container sends, uses the first of it, named or not."""

    def __init__(self, outputs: int = 0):
        super().__init__()
        self.outputs = outputs

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        value = self.value(args[0] if args else next(iter(kwargs.values())))
        return (value, *[None] * (self.outputs - 1)) if self.outputs else value

    def value(self, x: Any) -> Any:
        raise NotImplementedError


class PassThrough(Replacement):
    """A unit that is gone: its input goes on."""

    def value(self, x: Any) -> Any:
        return x


class ZeroBranch(Replacement):
    """The end of a branch that is gone: nothing is added to the skip connection."""

    def value(self, x: Tensor) -> Tensor:
        return x.new_zeros(x.shape)


class NoChannels(Replacement):
    """A concatenated layer that is gone: no channels are appended to its input, or to its list of inputs."""

    def value(self, x: Tensor | Sequence[Tensor]) -> Tensor:
        first = x if isinstance(x, Tensor) else x[0]
        return first.new_zeros((first.shape[0], 0, *first.shape[2:]))


class Shortcut(Replacement):
    """A unit of which only the shortcut is left, with its modules under their old names."""

    def __init__(self, removed: nn.Module, steps: Sequence[Step], outputs: int = 0):
        super().__init__(outputs)
        self.steps = tuple(steps)
        for place, step in enumerate(self.steps):
            if step.kind == "module":
                child = removed.get_submodule(step.name)
                self.add_module(step.name, _out_of_place(child) if place == 0 else child)

    def value(self, x: Tensor) -> Tensor:
        for kind, name in self.steps:
            x = self.get_submodule(name)(x) if kind == "module" else FUNCTIONS[name](x)
        return x


def _out_of_place(module: nn.Module) -> nn.Module:
    """The unit's input belongs to others: what comes first must not overwrite it."""
    if not getattr(module, "inplace", False) or module.state_dict(keep_vars=True):
        return module
    module = copy.copy(module)
    vars(module)["inplace"] = False
    return module


def replacement(removed: nn.Module, spec: StandIn) -> Replacement:
    """The stand-in for a module, in its mode and with its forward hooks."""
    instead: Replacement
    if spec.kind == "shortcut":
        instead = Shortcut(removed, spec.steps, spec.outputs)
    else:
        instead = {"pass": PassThrough, "zero": ZeroBranch, "empty": NoChannels}[spec.kind](spec.outputs)
    instead.training = removed.training
    for hooks in HOOKS:
        setattr(instead, hooks, getattr(removed, hooks))
    return instead


# ------------------------------------------------------------------------------------------------ as plain data


def stand_in_json(spec: StandIn) -> list:
    return [spec.module, spec.kind, spec.outputs, [list(step) for step in spec.steps]]


def stand_in_from(data: Any) -> StandIn:
    module, kind, outputs, steps = fields_of(data, "stand_in", 4)
    if kind not in ("pass", "zero", "empty", "shortcut"):
        raise BadArtifact(f"{kind!r:.60} is not a stand-in")
    parts = tuple(_step(item) for item in sequence(steps, "steps", 64))
    return StandIn(name_of(module), kind, integer(outputs, "outputs", 0, 64), parts)


def _step(data: Any) -> Step:
    kind, what = fields_of(data, "step", 2)
    if kind == "module":
        if not isinstance(what, str) or not re.fullmatch(r"[A-Za-z0-9_-]{1,128}", what):
            raise BadArtifact(f"{what!r:.60} is not the name of a child module")
    elif kind != "function" or not isinstance(what, str) or what not in FUNCTIONS:
        raise BadArtifact(f"{what!r:.60} is not a step of a shortcut")
    return Step(kind, what)
