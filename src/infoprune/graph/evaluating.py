"""Run a model in evaluation mode, as its code is written, and leave nothing of the pass behind."""

from __future__ import annotations

import random
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from infoprune.graph.wrappers import is_compiled

HOOKS = frozenset(name for name in vars(nn.Module()) if name.startswith("_forward_"))
OF_MODULES = frozenset(vars(nn.Module())) - HOOKS - {"training"}
CONTAINERS = (list, deque, dict, set, OrderedDict)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without the fused attention that hides its operations; every module's mode is restored."""
    modes = {module: module.training for module in model.modules()}
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    model.eval()
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for module in (module for module, mode in modes.items() if module.training != mode):
            module.training = modes[module]


@contextmanager
def uncompiled(model: nn.Module) -> Iterator[None]:
    """Parts that were compiled run as they are written, so that hooks are called and operations are seen."""
    with ExitStack() as stack:
        for module in model.modules():
            if is_compiled(module):
                stack.enter_context(replaced(module, "forward", _calling(module.get_submodule("_orig_mod"))))
            elif vars(module).get("_compiled_call_impl") is not None:
                stack.enter_context(replaced(module, "_compiled_call_impl", None))
        yield


def _calling(module: nn.Module) -> Callable[..., Any]:
    return lambda *args, **kwargs: module(*args, **kwargs)


@contextmanager
def as_it_was(model: nn.Module) -> Iterator[None]:
    """What the model writes into its buffers and attributes is taken back; it draws the same numbers in every pass."""
    places = {tensor.device for tensor in model.parameters()}
    states = random.getstate(), np.random.get_state()
    buffers = [(buffer, buffer.clone(), buffer._version) for buffer in model.buffers() if not buffer.is_inference()]
    attributes = [(module, type(module), _attributes(module)) for module in model.modules()]
    try:
        with torch.random.fork_rng(devices=sorted(place.index for place in places if place.type == "cuda")):
            _seed(places)
            random.seed(0)
            np.random.seed(0)
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        with torch.no_grad():
            for buffer, before, version in buffers:
                if buffer._version != version:
                    buffer.copy_(before)
        for module, kind, before in attributes:
            if type(module) is kind:  # it may just have found out its own shape
                _put_back(module, before)


def _seed(places: Iterable[torch.device]) -> None:
    """Of the processor alone where the model is there: seeding every kind of device costs as much as a small layer."""
    elsewhere = any(place.type != "cpu" for place in places)
    (torch.manual_seed if elsewhere else torch.default_generator.manual_seed)(0)


def _attributes(module: nn.Module) -> dict[str, tuple[Any, Any]]:
    """What a module keeps of its own: each value, and a copy of what a container of these holds.

    Its hooks are among them: models that hook themselves at their first call keep a note that they have done so.
    """
    own = [(name, value) for name, value in vars(module).items() if name not in OF_MODULES]
    return {name: (value, value.copy() if type(value) in CONTAINERS else None) for name, value in own}


def _put_back(module: nn.Module, before: dict[str, tuple[Any, Any]]) -> None:
    own = vars(module)
    for name in own.keys() - before.keys() - OF_MODULES:
        del own[name]
    for name, (value, held) in before.items():
        own[name] = value
        if held is not None and (held or value):
            value.clear()
            (value.extend if isinstance(value, list | deque) else value.update)(held)


@contextmanager
def replaced(module: nn.Module, name: str, value: Any) -> Iterator[None]:
    """The attribute of this one object is `value` for a while."""
    own = vars(module)
    before = {name: own[name]} if name in own else {}
    own[name] = value
    try:
        yield
    finally:
        del own[name]
        own.update(before)
