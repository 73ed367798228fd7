"""Whether arguments are what they should be, asked at every public door."""

from __future__ import annotations

import os
from collections.abc import Iterable
from numbers import Real

import torch
from torch import Tensor, nn

from infoprune.errors import BadWeights


def require_model(model: object, name: str = "model") -> None:
    """TypeError says what was given instead, and what to do."""
    if isinstance(model, nn.Module):
        return
    if isinstance(model, type) and issubclass(model, nn.Module):
        raise TypeError(f"{name} is the class {model.__name__}; call it to make one: {model.__name__}(...)")
    if isinstance(model, str):
        raise TypeError(f"{name} is the text {model!r:.60}; build the network first, as with timm.create_model(...)")
    if type(model).__name__ == "ExportedProgram":
        raise TypeError(f"{name} is an ExportedProgram; prune what was exported, then export again")
    raise TypeError(f"{name} is {_kind_of(model)}; give a torch.nn.Module")


def require_values(model: nn.Module, purpose: str, name: str = "model") -> None:
    """BadWeights for a network on the meta device, which keeps shapes alone; `purpose` is what values are for."""
    without = next((n for n, t in (*model.named_parameters(), *model.named_buffers()) if t.is_meta), None)
    if without is not None:
        raise BadWeights(f"{name}: {without} is on the meta device, with no values {purpose}; load the weights first")


def require_importance(importance: object) -> None:
    """TypeError unless it can score a group."""
    if isinstance(importance, type):
        raise TypeError(f"importance is the class {importance.__name__}; call it: {importance.__name__}()")
    if not callable(importance):
        raise TypeError(
            f"importance is {importance!r:.60}; pass an object like infoprune.importance.CapacityImportance()"
        )


def require_path(path: object, name: str, whose: str) -> None:
    """TypeError unless it can be one."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"{name} is {_kind_of(path)}; give the path {whose}")


def require_number(value: object, name: str) -> None:
    """TypeError unless it is a real number; True is none."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} is {value!r:.60}; give a number")


def require_numbers(model: nn.Module, inputs: Iterable[Tensor]) -> None:
    """ValueError for inputs, and BadWeights for buffers, from which nothing can be computed."""
    for tensor in inputs:
        if tensor.numel() == 0:
            raise ValueError(f"example_inputs hold an empty tensor, {list(tensor.shape)}; give one example")
        if tensor.is_floating_point() and _holds_nan(tensor):  # infinities are how masks are written
            raise ValueError("example_inputs hold NaN; give numbers")
    damaged = next((name for name, buffer in model.named_buffers() if _holds_nan(buffer)), None)
    if damaged is not None:
        raise BadWeights(f"the buffer {damaged} holds NaN; load weights that are finite")


def _holds_nan(tensor: Tensor) -> bool:
    return not tensor.is_meta and bool(tensor.isnan().any())


def require_seen() -> None:
    """ValueError where operations can't be watched: counted there, everything would cost nothing."""
    if torch.is_inference_mode_enabled():
        raise ValueError("this was called inside torch.inference_mode(), which hides what is done; use torch.no_grad()")


def _kind_of(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"
