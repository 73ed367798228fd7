"""The layers that run for a graph's example inputs: what goes in, what comes out, which sites it counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from infoprune.graph import Graph
from infoprune.graph.arguments import Arguments
from infoprune.graph.evaluating import evaluating, uncompiled
from infoprune.graph.hooks import hooked
from infoprune.graph.nested import outputs_of
from infoprune.graph.tape import Extent


@dataclass(frozen=True)
class Call:
    """One run of a convolution or linear layer: shapes of its first argument and of its output."""

    name: str
    layer: nn.Module
    input: tuple[int, ...]
    output: tuple[int, ...]

    @property
    def weight(self) -> Tensor:
        return self.layer.get_parameter("weight")

    @property
    def groups(self) -> int:
        """1 where the layer has none."""
        return self.layer.groups if isinstance(self.layer, nn.modules.conv._ConvNd) else 1

    @property
    def channel_axis(self) -> int:
        """The axis of input and output that counts channels."""
        return len(self.output) - 1 - _kernel_axes(self.layer)

    def weight_extents(self, graph: Graph) -> tuple[Extent, Extent]:
        """The first two axes of the layer's weight, as long as the sites' counts make them."""
        first, second, *_ = graph.extents(f"{self.name}.weight", self.weight)
        return first, second

    def channels(self, graph: Graph) -> tuple[int, Extent]:
        """The output's channels: so many times an extent of the weight."""
        first, second = self.weight_extents(graph)
        transposed = isinstance(self.layer, nn.modules.conv._ConvTransposeNd)
        if not transposed:
            return 1, first
        depthwise = self.weight.shape[1] == 1
        return (1, first) if depthwise else (self.groups, second)

    @property
    def places(self) -> int:
        """How many output elements there are for every channel."""
        return torch.Size(self.output).numel() // max(1, self.output[self.channel_axis])


def calls_of(model: nn.Module, example_inputs: Any) -> tuple[Call, ...]:
    """Every run of a convolution or linear layer in one forward pass, in order."""
    calls: list[Call] = []
    layers = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.modules.conv._ConvNd | nn.Linear)]
    noting = hooked(layer.register_forward_hook(_noting(calls, name)) for name, layer in layers)
    with torch.no_grad(), evaluating(model), uncompiled(model), noting:
        Arguments.of(example_inputs).run(model)
    return tuple(calls)


def output_elements(model: nn.Module, example_inputs: Any) -> int:
    """Numbers that all convolutions and linear layers give out in one forward pass."""
    return sum(torch.Size(call.output).numel() for call in calls_of(model, example_inputs))


def _noting(calls: list[Call], name: str) -> Callable[..., None]:
    def note(layer: nn.Module, args: tuple, output: Any) -> None:
        inputs, outputs = outputs_of(args), outputs_of(output)
        if inputs and outputs:
            calls.append(Call(name, layer, _shape(inputs[0]), _shape(outputs[0])))

    return note


def _shape(tensor: Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape)


def _kernel_axes(layer: nn.Module) -> int:
    return layer.weight.dim() - 2 if isinstance(layer, nn.modules.conv._ConvNd) else 0
