"""Running the part of a model behind one layer: everything before runs once, on shapes, and is then skipped.

Tensors without numbers (torch's fake tensors) stand for whatever is computed from the model's inputs. What is
computed from the received features alone is real, so a fake tensor among the outputs shows that something else
crosses the split.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.weak import WeakIdKeyDictionary

from infoprune.errors import NotACut
from infoprune.graph.slicing import device_of


class Reached(BaseException):
    """The layer has spoken; no model means to catch this."""


@dataclass(frozen=True, eq=False)
class SplitPoint:
    """What a model does before the layer `at`: the outputs of every module that is done by then, as shapes."""

    at: str
    example: tuple  # the model's inputs, on the meta device
    fakes: tuple
    done: dict[str, list[Any]]  # the outermost modules that finished, and what they gave out, call by call
    shape: torch.Size
    dtype: torch.dtype

    def inputs(self) -> tuple:
        return _without_numbers(self.fakes)

    @contextmanager
    def injecting(self, model: nn.Module, features: Tensor) -> Iterator[None]:
        """Modules that are done give out shapes at once, the layer gives out `features`; then all is as before."""
        layer, standing_in = model.get_submodule(self.at), ExitStack()

        def inject(_: nn.Module, __: Any, ___: Any) -> Tensor:
            standing_in.close()
            return features.clone()  # what follows may work in place

        with standing_in:
            for name, outputs in self.done.items():
                replies = iter(_without_numbers(outputs))
                standing_in.enter_context(_replaced(model.get_submodule(name), partial(_next, replies)))
            standing_in.enter_context(_replaced(layer, lambda *_, **__: features))
            standing_in.enter_context(layer.register_forward_hook(inject))
            yield


def split_point_at(model: nn.Module, at: str, inputs: tuple) -> SplitPoint:
    """Run the model on shapes until the layer speaks."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    place = device_of(model)
    with mode:
        fakes = tree_map_only(Tensor, lambda t: torch.empty(t.shape, dtype=t.dtype, device=place), inputs)
    done: dict[str, list[Any]] = {}
    outputs: list[Any] = []

    def finished(name: str, _: nn.Module, __: Any, output: Any) -> None:
        if name == at:
            outputs.append(output)
            raise Reached
        for inner in [other for other in done if other.startswith(f"{name}.")]:
            del done[inner]
        done.setdefault(name, []).append(output)

    with _hooked(model, finished), torch.no_grad():
        try:
            model(*fakes)
        except Reached:
            pass
        except DataDependentOutputException as error:
            raise NotACut(f"what runs before {at!r} depends on numbers, not on shapes alone ({error})") from error
    if not outputs or not isinstance(outputs[0], Tensor):
        kind = type(outputs[0]).__name__ if outputs else "nothing"
        raise NotACut(f"{at!r} gives out {kind} for these inputs; name a layer that gives out one tensor")
    return SplitPoint(at, inputs, fakes, done, outputs[0].shape, outputs[0].dtype)


@torch.no_grad()
def require_split_point(model: nn.Module, point: SplitPoint, features: Tensor, chosen: Callable[[Any], Any]) -> None:
    """Raise `NotACut`, with what crosses and where it is used, unless the outputs need the features alone."""
    follow, outputs = _Follow(point, features), None
    with follow, point.injecting(model, features), _hooked(model, follow.left, follow.entered):
        try:
            outputs = chosen(model(*point.fakes))
        except Exception:  # whatever the model does with tensors that have no numbers
            if not follow.met:
                raise
    crossing = [follow.origin(leaf) for leaf in tree_leaves(outputs) if isinstance(leaf, FakeTensor)]
    if outputs is not None and not crossing:
        return
    if not follow.met:
        raise NotACut(f"{point.at!r} is not a cut: an output does not depend on it but on {crossing[0]}")
    producer, consumer = follow.met[0]
    where = f"{consumer!r}; split there or after it" if consumer else "the model's own code; split elsewhere"
    raise NotACut(f"{point.at!r} is not a cut: what {producer} gives out is needed as well, in {where}")


class _Lost(Exception):
    """Numbers that are missing were written into a tensor that has some."""


class _Follow(TorchDispatchMode):
    """Notes where tensors without numbers meet tensors computed from the features."""

    def __init__(self, point: SplitPoint, features: Tensor):
        super().__init__()
        self.stack, self.met = [], []
        self.origins, self.derived = WeakIdKeyDictionary(), WeakIdKeyDictionary()
        self.derived[features] = True
        for name, outputs in point.done.items():
            self._name(outputs, repr(name))
        self._name(point.fakes, "the model's input")

    def origin(self, tensor: Tensor) -> str:
        return self.origins.get(tensor) or "the model's own code before it"

    def entered(self, name: str, _: nn.Module, __: Any) -> None:
        self.stack.append(name)

    def left(self, name: str, _: nn.Module, __: Any, output: Any) -> None:
        while self.stack and self.stack.pop() != name:
            pass

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        fakes = [t for t in tensors if isinstance(t, FakeTensor)]
        derived = [t for t in tensors if t in self.derived]
        here = (self.origin(fakes[0]), self.stack[-1] if self.stack else "") if fakes else None
        lost = here and any(not isinstance(t, FakeTensor) for t in _written(func, args))
        if here and (derived or lost):
            self.met.append(here)
        if lost:
            raise _Lost
        output = func(*args, **(kwargs or {}))
        if here:
            self._name(output, here[0])
        elif derived:
            for leaf in tree_leaves(output):
                if isinstance(leaf, Tensor):
                    self.derived[leaf] = True
        return output

    def _name(self, tree: Any, name: str) -> None:
        for leaf in tree_leaves(tree):
            if isinstance(leaf, FakeTensor) and leaf not in self.origins:
                self.origins[leaf] = name


def _written(func: Any, args: tuple) -> list[Tensor]:
    """The tensors that an operation changes."""
    places = zip(func._schema.arguments, args, strict=False)
    return [t for place, t in places if place.alias_info and place.alias_info.is_write and isinstance(t, Tensor)]


@contextmanager
def _hooked(model: nn.Module, after: Callable[..., None], before: Callable[..., None] | None = None) -> Iterator[None]:
    """Every module says its name as it is done, and as it begins."""
    with ExitStack() as stack:
        for name, module in model.named_modules():
            if not name:
                continue
            if before:
                stack.callback(module.register_forward_pre_hook(partial(before, name)).remove)
            stack.callback(module.register_forward_hook(partial(after, name)).remove)
        yield


@contextmanager
def _replaced(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    own = module.__dict__.get("forward")
    module.__dict__["forward"] = forward
    try:
        yield
    finally:
        module.__dict__.pop("forward", None)
        if own is not None:
            module.__dict__["forward"] = own


def _next(replies: Iterator[Any], *_: Any, **__: Any) -> Any:
    return next(replies)


def exporting() -> bool:
    """Whether torch.export follows the code; torch 2.6 can't tell that from torch.compile."""
    return getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)()


def _without_numbers(tree: Any) -> Any:
    """Fake tensors as they are; while exporting, zeros, which leave the program as nothing uses them."""
    if not exporting():
        return tree
    return tree_map_only(Tensor, lambda t: torch.zeros(tuple(t.shape), dtype=t.dtype), tree)
