"""What one layer gives out, channel by channel: the unit of a site that each stands or falls with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from infoprune.errors import UnknownName, Untraceable
from infoprune.graph.detectors import settled
from infoprune.graph.tape import Extent, record
from infoprune.graph.trace import Graph
from infoprune.registry import nearest


@dataclass(frozen=True)
class Output:
    """A layer's output of `shape` [B, C, ...] for the graph's inputs.

    `owners`: (site, unit) of each channel, or None where it can't leave. `channels`: their number, for `Graph.price`.
    """

    shape: tuple[int, ...]
    owners: tuple[tuple[str, int] | None, ...]
    channels: Extent


def output_of(graph: Graph, layer: str) -> Output:
    """Follow the graph's model once more and look at what `layer` gives out."""
    modules = dict(graph.model.named_modules())
    if layer not in modules:
        raise UnknownName(f"the model has no layer {layer!r}; {nearest(layer, list(modules))}")
    heard: list[Any] = []
    with modules[layer].register_forward_hook(lambda *args: heard.append(args[2])), settled(graph.model):
        tape, _ = record(graph.model, graph.inputs, streams=graph.streams)
    if len(heard) != 1 or not isinstance(heard[0], Tensor) or heard[0].dim() < 2:
        raise Untraceable(f"{layer} does not give out one tensor with channels, once; name a layer that does")
    return _output(graph, heard[0], tape.marks(heard[0]).planes)


def _output(graph: Graph, tensor: Tensor, planes: tuple[Tensor, ...]) -> Output:
    shape, count = tuple(tensor.shape), tensor.shape[1]
    for labels in planes:
        extent = Extent(count, labels, 1)
        owners = graph.owners(extent)
        if owners is not None:
            return Output(shape, owners, extent)
    return Output(shape, (None,) * count, Extent(count))
