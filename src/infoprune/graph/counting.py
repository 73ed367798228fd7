"""Count multiply-adds as they happen, from the shapes of the operands alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from infoprune.graph.arguments import Arguments
from infoprune.graph.detectors import settled
from infoprune.graph.rules.base import newer

aten = torch.ops.aten

BY_VALUE = {torch.Tag.dynamic_output_shape, torch.Tag.data_dependent_output}
COUNTER = "infoprune (one multiply-add is one MAC; biases, norms, activations, pooling and resampling are free)"


def count_macs(model: nn.Module, example_inputs: Any) -> int:
    """Multiply-adds of convolutions, linear layers, matrix products, attention and recurrent layers in one pass."""
    return counted(model, example_inputs).total


def counted(model: nn.Module, example_inputs: Any) -> Counter:
    """The counter after one pass: how much, and what made that depend on values."""
    with torch.no_grad(), settled(model), Counter() as counter:
        Arguments.of(example_inputs).run(model)
    return counter


class Counter(TorchDispatchMode):
    """Counts multiply-adds while it is on; `by_value` names operations after which values decide what runs."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0
        self.by_value: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.total += multiply_adds(func, args, out)
        if BY_VALUE & set(func.tags):
            self.by_value.add(func.overloadpacket.__name__.strip("_"))
        return out


def multiply_adds(func: Any, args: tuple, out: Any) -> int:
    """What one operation costs."""
    packet = func.overloadpacket
    if packet in formulas:
        return formulas[packet](args, out)
    if packet.__name__ == "grouped_mm_fallback":  # of the transformers package
        return _product(0, 1)(args, out)
    return _attention(args) if packet.__name__.startswith("_scaled_dot_product") else 0


def _product(a: int, b: int) -> Callable[[tuple, Any], int]:
    return lambda args, out: out.numel() * args[a].shape[-1] if b else args[a].numel()


def _convolution(args: tuple, out: Any) -> int:
    x, weight, transposed = args[0], args[1], args[6]
    return (x if transposed else out).numel() // weight.shape[0] * weight.numel()


def _attention(args: tuple) -> int:
    q, k, v = args[:3]
    return math.prod(q.shape[:-1]) * k.shape[-2] * (q.shape[-1] + v.shape[-1])


def _recurrent(args: tuple, out: Any) -> int:
    steps = args[0].numel() // args[0].shape[-1]
    return steps * (args[1].numel() + args[2].numel())


formulas: dict[object, Callable[[tuple, Any], int]] = {
    aten.mm: _product(0, 1),
    aten.bmm: _product(0, 1),
    aten.addmm: _product(1, 1),
    aten.baddbmm: _product(1, 1),
    newer("_grouped_mm"): _product(0, 1),
    aten.mv: _product(0, 0),
    aten.dot: _product(0, 0),
    aten.convolution: _convolution,
    aten._convolution: _convolution,
    aten.mkldnn_rnn_layer: _recurrent,
}
