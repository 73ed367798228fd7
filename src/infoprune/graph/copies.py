"""Copies of a model that share its tensors, and proof that a copy runs nothing but itself."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._python_dispatch import TorchDispatchMode

from infoprune.errors import Untraceable
from infoprune.graph.arguments import Arguments
from infoprune.graph.detectors import FEW_BOXES, settled
from infoprune.graph.rules.base import tensors
from infoprune.graph.slicing import named_tensors
from infoprune.graph.wrappers import is_compiled

LEFT_OUT = ("_compiled_call_impl",)  # compiled code, which would run the original
OF_MODULES = frozenset(vars(nn.Module()))
PLAIN = (type(None), bool, int, float, str, fx.Graph)  # a copy is the same object


def structural_copy(model: nn.Module, successors: Mapping[int, Tensor] | None = None) -> nn.Module:
    """A copy of the modules that shares all tensors: surgery replaces tensors and never writes into them.

    What copy.deepcopy would give, without its detour through pickling protocols, which costs more than a forward pass.
    It runs uncompiled, under the names that the model has. `successors` take the place of the tensors of these ids.
    """
    modules = list(model.modules())
    copies: dict[int, Any] = {id(tensor): tensor for tensor in named_tensors(model).values()}
    copies.update(successors or {})
    for module in modules:
        kind = _Uncompiled if is_compiled(module) else type(module)
        copies[id(module)] = object.__new__(kind)  # a kind may make a class of its own for each, as torch.fx's does
    for module in modules:
        vars(copies[id(module)]).update({name: _copied(value, copies) for name, value in _state(module).items()})
    return copies[id(model)]


def stand_in(model: nn.Module) -> nn.Module:
    """A structural copy whose tensors share the memory of the model's and are others all the same."""
    return structural_copy(model, {id(tensor): _alias(tensor) for tensor in named_tensors(model).values()})


class Reads(TorchDispatchMode):
    """Notes which tensors of a model are read while something else is to run."""

    def __init__(self, *models: nn.Module):
        super().__init__()
        self.watched = {id(t): (name, t) for model in models for name, t in named_tensors(model).items()}
        self.read: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        operands = tensors([*args, kwargs or {}])
        self.read += [self.watched[id(tensor)][0] for tensor in operands if id(tensor) in self.watched]
        return func(*args, **(kwargs or {}))

    @property
    def fault(self) -> Untraceable | None:
        """What is wrong if any was: then nothing that the copy computes says anything about the copy."""
        if not self.read:
            return None
        return Untraceable(
            f"a copy of the model still reads {self.read[0]} of the original, so that comparing the two would compare "
            "the model with itself; some function holds the model or a part of it (a closure, a lambda, a replaced "
            "forward): make it a method, or pass the module that it calls"
        )

    def require_none(self) -> None:
        if self.fault is not None:
            raise self.fault


def require_own_code(model: nn.Module, inputs: Arguments) -> None:
    """Raise `Untraceable` unless a copy of the model computes with the copy's own tensors alone."""
    copied = stand_in(model)
    with torch.no_grad(), settled(copied, boxes=FEW_BOXES), Reads(model) as reads:
        inputs.run(copied)
    reads.require_none()


class _Uncompiled(nn.Module):
    """Stands in a copy for what `torch.compile` gave: the same names, run as they are."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self._modules["_orig_mod"](*args, **kwargs)  # type: ignore[misc]

    def __getattr__(self, name: str) -> Any:
        own = vars(self)["_modules"]
        return own[name] if name in own else getattr(own["_orig_mod"], name)


def _state(module: nn.Module) -> dict[str, Any]:
    if is_compiled(module):
        return {**{name: value for name, value in vars(module).items() if name in OF_MODULES}, "training": False}
    return {name: value for name, value in vars(module).items() if name not in LEFT_OUT}


def _copied(value: Any, copies: dict[int, Any]) -> Any:
    if type(value) in (dict, OrderedDict) and not value:  # most of what a module holds: hooks that it does not have
        return type(value)()
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, Tensor) and id(value) not in copies and value.grad_fn is not None:
        return value.detach().clone()  # a weight that hooks compute anew before every call
    if isinstance(value, dict) and all(v is None or id(v) in copies for v in value.values()):
        return type(value)((name, v if v is None else copies[id(v)]) for name, v in value.items())
    if type(value) in (tuple, set) and all(isinstance(v, PLAIN) for v in value):
        return value if isinstance(value, tuple) else set(value)
    return copy.deepcopy(value, copies)


def _alias(tensor: Tensor) -> Tensor:
    """Another tensor in the same memory, a parameter with its own attributes if it was one."""
    if not isinstance(tensor, nn.Parameter):
        return tensor.detach()
    alias = nn.Parameter(tensor.detach(), requires_grad=tensor.requires_grad)
    vars(alias).update(vars(tensor))
    return alias
