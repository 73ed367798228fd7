"""One forward pass as a graph: which tensor came from which, and which module was running."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakIdKeyDictionary

from infoprune.graph.arguments import Arguments
from infoprune.graph.detectors import FEW_BOXES, settled
from infoprune.graph.hooks import hooked
from infoprune.graph.nested import outputs_of
from infoprune.graph.rules import tensors

SOURCE = "source"  # the operation of a tensor that was there before: an input, a parameter, a constant


class Node(NamedTuple):
    """One version of one tensor: an operation in place makes a new one."""

    op: str
    parents: tuple[int, ...]
    module: str  # the innermost module that was running
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Call:
    """One call of a module: what its first argument held, what it gave, and the nodes that came about meanwhile.

    `outputs` is 0 where it gave a tensor, and n where it gave a tuple of n values, the first a tensor.
    """

    module: str
    first: tuple[int, ...]
    single: bool  # the first argument was a tensor, not a list of them
    result: int | None
    outputs: int
    nodes: range


@dataclass
class Dataflow:
    """Nodes in the order in which they were made, parents first, and calls in the order of their ends."""

    nodes: list[Node] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    results: set[int] = field(default_factory=set)  # what the model gives back
    stack: list[str] = field(default_factory=lambda: [""])
    _known: WeakIdKeyDictionary = field(default_factory=WeakIdKeyDictionary)

    def node(self, tensor: Tensor) -> int:
        if tensor not in self._known:
            self.add(tensor, SOURCE, ())
        return self._known[tensor]

    def add(self, tensor: Tensor, op: str, parents: tuple[int, ...]) -> None:
        self._known[tensor] = len(self.nodes)
        self.nodes.append(Node(op, parents, self.stack[-1], tuple(tensor.shape)))

    @cached_property
    def consumers(self) -> list[list[int]]:
        """For each node those made from it, as far as a result depends on them."""
        consumers: list[list[int]] = [[] for _ in self.nodes]
        for number in range(len(self.nodes) - 1, -1, -1):
            if consumers[number] or number in self.results:
                for parent in self.nodes[number].parents:
                    consumers[parent].append(number)
        return consumers

    @cached_property
    def calls_of(self) -> dict[str, list[Call]]:
        calls: dict[str, list[Call]] = {}
        for call in self.calls:
            calls.setdefault(call.module, []).append(call)
        return calls

    def leads(self, early: int, late: int) -> bool:
        """Whether `late` was computed from `early`."""
        ancestors, waiting = {late}, [late]
        while waiting and early not in ancestors:
            new = {p for p in self.nodes[waiting.pop()].parents if p >= early} - ancestors
            ancestors |= new
            waiting += new
        return early in ancestors

    def only_for(self, number: int) -> set[int]:
        """The nodes from which every path to a result leads through this one, and itself."""
        nodes = {number}
        for earlier in range(number - 1, -1, -1):
            after = self.consumers[earlier]
            if after and earlier not in self.results and all(a in nodes for a in after):
                nodes.add(earlier)
        return nodes


def dataflow_of(model: nn.Module, inputs: Any) -> Dataflow:
    """Run `model` once in evaluation mode, without gradients; no hook stays behind."""
    flow = Dataflow()
    with torch.no_grad(), settled(model, boxes=FEW_BOXES), _calls(model, flow), _Recorder(flow):
        output = Arguments.of(inputs).run(model)
    flow.results.update(flow.node(t) for t in outputs_of(output))
    return flow


class _Recorder(TorchDispatchMode):
    def __init__(self, flow: Dataflow):
        super().__init__()
        self.flow = flow

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        parents = tuple(self.flow.node(t) for t in tensors([*args, kwargs or {}]))
        out = func(*args, **(kwargs or {}))
        for tensor in tensors(out if isinstance(out, tuple | list) else [out]):
            self.flow.add(tensor, func.overloadpacket.__name__, parents)
        return out


def _calls(model: nn.Module, flow: Dataflow) -> AbstractContextManager[None]:
    begun: list[tuple[tuple[int, ...], bool, int]] = []
    named = list(model.named_modules())
    entering = [m.register_forward_pre_hook(_enter(flow, begun, name), with_kwargs=True) for name, m in named]
    return hooked([*entering, *(m.register_forward_hook(_leave(flow, begun, name)) for name, m in named)])


def _enter(flow: Dataflow, begun: list, name: str):
    def hook(_: nn.Module, args: tuple, kwargs: dict) -> None:
        first = args[0] if args else next(iter(kwargs.values()), None)
        begun.append((tuple(flow.node(t) for t in tensors([first])), isinstance(first, Tensor), len(flow.nodes)))
        flow.stack.append(name)

    return hook


def _leave(flow: Dataflow, begun: list, name: str):
    def hook(_: nn.Module, __: Any, out: Any) -> None:
        flow.stack.pop()
        first, single, start = begun.pop()
        head = out[0] if isinstance(out, tuple) and out else out
        result = flow.node(head) if isinstance(head, Tensor) else None
        count = len(out) if isinstance(out, tuple) else 0
        flow.calls.append(Call(name, first, single, result, count, range(start, len(flow.nodes))))

    return hook
