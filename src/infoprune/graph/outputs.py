"""What a layer gives out and what a model keeps, channel by channel: the unit of a site that each falls with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from infoprune.errors import UnknownName, Untraceable
from infoprune.graph.detectors import settled
from infoprune.graph.nested import cached_in
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


def cache_of(graph: Graph) -> list[tuple[int, tuple[Extent, ...]]]:
    """The size in bytes of an element, and the axes, of every tensor that the model keeps for the tokens to come."""
    model, inputs = graph.call
    with settled(model):
        tape, output = record(model, inputs, streams=graph.streams)
    return [(t.element_size(), _axes(graph, t, tape.marks(t).planes)) for t in require_cache(model, output)]


def require_cache(model: nn.Module, output: Any) -> list[Tensor]:
    """The tensors of the caches that a model gave back; Untraceable where there are none."""
    caches = [tensor for tensor in cached_in(output) if tensor.numel() and tensor.dim() > 1]  # not the counters
    if not caches:
        raise Untraceable(
            f"{type(model).__name__} gives back no cache of keys and values; take a decoder of transformers whose "
            "config says use_cache=True, or another budget"
        )
    return caches


def _axes(graph: Graph, tensor: Tensor, planes: tuple[Tensor, ...]) -> tuple[Extent, ...]:
    """Each axis as long as the sites' counts make it."""
    return tuple(_axis(graph, Extent(size, None, axis), planes) for axis, size in enumerate(tensor.shape))


def _axis(graph: Graph, whole: Extent, planes: tuple[Tensor, ...]) -> Extent:
    extents = (Extent(whole.size, labels, whole.axis) for labels in planes)
    return next((extent for extent in extents if graph.owners(extent) is not None), whole)


def _output(graph: Graph, tensor: Tensor, planes: tuple[Tensor, ...]) -> Output:
    shape, count = tuple(tensor.shape), tensor.shape[1]
    extent = _axis(graph, Extent(count, None, 1), planes)
    owners = None if extent.plane is None else graph.owners(extent)
    return Output(shape, owners or (None,) * count, extent)
