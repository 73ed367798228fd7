"""Tensors inside whatever values are packed in: containers, dataclasses, named tuples, objects of the user's own."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

LEAVES = (Tensor, np.ndarray, float)


def tensors_in(value: Any) -> list[Tensor]:
    """All tensors in a value, in its own order, whatever holds them; an object met twice counts once.

    Modules are not looked into, and neither are caches of keys and values: decoders give them back to be handed in
    again with the next token, so that they are state, as long as the heads that stay.

    >>> import torch
    >>> from types import SimpleNamespace
    >>> tensors_in(SimpleNamespace(boxes={"xyxy": torch.ones(1)}, scores=[torch.zeros(1)]))
    [tensor([1.]), tensor([0.])]
    """
    return [part for part in held_in(value) if isinstance(part, Tensor)]


def held_in(value: Any) -> list[Any]:
    """All tensors, arrays and floating-point numbers in a value."""
    leaves: list[Any] = []
    waiting, met = [value], {id(value): value}
    while waiting:
        here = waiting.pop()
        if isinstance(here, LEAVES):
            leaves.append(here)
            continue
        parts = [part for part in _parts(here) if isinstance(part, LEAVES) or id(part) not in met]
        met.update((id(part), part) for part in parts)
        waiting.extend(reversed(parts))
    return leaves


def outputs_of(output: Any) -> list[Tensor]:
    """All tensors that a model, or a layer, gives back."""
    return [output] if isinstance(output, Tensor) else tensors_in(output)


def numbers_of(output: Any) -> list[Tensor]:
    """All tensors that a model gives back, then its arrays and floating-point numbers, as tensors.

    Integers of Python are left out: they tell sizes and counts, which may change with the widths.

    >>> numbers_of({"scores": [0.5, 0.25], "classes": 10})
    [tensor([0.5000, 0.2500], dtype=torch.float64)]
    """
    if isinstance(output, Tensor):
        return [output]
    held = held_in(output)
    arrays = [torch.from_numpy(np.array(a)) for a in held if isinstance(a, np.ndarray) and a.dtype.kind in "fciub"]
    numbers = [part for part in held if isinstance(part, float)]
    scalars = [torch.tensor(numbers, dtype=torch.float64)] if numbers else []
    return [*(part for part in held if isinstance(part, Tensor)), *arrays, *scalars]


def with_tensors(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """The value with `function` of every tensor in the tensor's place; what holds them is new, the rest is shared."""
    return _with_tensors(value, function, {})


def _with_tensors(value: Any, function: Callable[[Tensor], Tensor], copies: dict[int, Any]) -> Any:
    if isinstance(value, Tensor):
        return function(value)
    if id(value) in copies:
        return copies[id(value)]
    if type(value) is tuple or (isinstance(value, tuple) and hasattr(value, "_fields")):
        parts = [_with_tensors(part, function, copies) for part in value]
        return tuple(parts) if type(value) is tuple else type(value)(*parts)
    if not (isinstance(value, list | Mapping) or _is_plain_object(value)):
        return value
    new: Any = copy.copy(value)
    copies[id(value)] = new
    if isinstance(value, list):
        new[:] = [_with_tensors(part, function, copies) for part in value]
    elif isinstance(value, Mapping):
        for key in value:
            new[key] = _with_tensors(value[key], function, copies)
    else:
        for name, part in _attributes(value).items():
            object.__setattr__(new, name, _with_tensors(part, function, copies))
    return new


def _parts(value: Any) -> Iterable[Any]:
    """What a value holds directly."""
    if value is None or isinstance(value, str | bytes | bool | int | float | complex) or is_cache(value):
        return ()
    if isinstance(value, Mapping):
        return list(value.values())
    if isinstance(value, list | tuple | set | frozenset | deque):
        return list(value)
    if type(value) in pytree.SUPPORTED_NODES:
        return list(pytree.SUPPORTED_NODES[type(value)].flatten_fn(value)[0])
    return list(_attributes(value).values()) if _is_plain_object(value) else ()


def _attributes(value: Any) -> dict[str, Any]:
    slots = [vars(kind).get("__slots__", ()) for kind in type(value).__mro__]
    names = [name for slot in slots for name in ((slot,) if isinstance(slot, str) else slot)]
    held = {name: getattr(value, name) for name in names if not name.startswith("__") and hasattr(value, name)}
    return {**held, **getattr(value, "__dict__", {})}


def _is_plain_object(value: Any) -> bool:
    """An instance of a class that is written in Python and is no module: all that it holds are its attributes."""
    if isinstance(value, SimpleNamespace):
        return True
    if isinstance(value, type | nn.Module) or type(value).__new__ is not object.__new__:
        return False
    return hasattr(value, "__dict__") or any("__slots__" in vars(kind) for kind in type(value).__mro__)


def cached_in(value: Any) -> list[Tensor]:
    """The tensors of every cache of keys and values, or of other state, that a value holds."""
    return list({id(t): t for cache in _caches_in(value) for t in _state_of(cache)}.values())


def _caches_in(value: Any) -> list[Any]:
    caches, waiting, met = [], [value], {id(value)}
    while waiting:
        here = waiting.pop()
        if is_cache(here):
            caches.append(here)
        parts = [part for part in _parts(here) if id(part) not in met]
        met.update(map(id, parts))
        waiting.extend(parts)
    return caches


def _state_of(cache: Any) -> Iterator[Tensor]:
    for part in _held_by(cache):
        if isinstance(part, Tensor):
            yield part
        elif is_cache(part):
            yield from _state_of(part)


def _held_by(cache: Any) -> Iterator[Any]:
    """A cache holds tensors, mappings and lists of such, and layers that are caches of their own."""
    for part in _attributes(cache).values():
        yield from part.values() if isinstance(part, Mapping) else part if isinstance(part, list | tuple) else [part]


def is_cache(value: Any) -> bool:
    """Whether it holds what a model of transformers keeps from one token to the next."""
    kinds = [kind for kind in type(value).__mro__ if kind.__module__.startswith("transformers.")]
    return any("Cache" in kind.__name__ for kind in kinds)
