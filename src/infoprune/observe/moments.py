"""What layers read, as means and covariances of their input columns: the evidence of who can stand in for whom."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from infoprune.errors import StaleObservations, UnusableData
from infoprune.estimators.covariance import Comoments
from infoprune.observe.reader_layers import groups_of, input_axis, reads, samples_of

MOST_COLUMNS = 4096  # 4096^2 moments are 128 MiB a layer


@dataclass(frozen=True, eq=False)
class Moments:
    """name -> sums over what the layer read, groups x columns (x columns); those of two streams add up.

    `half` holds those of every second batch alone, so that what is made of two halves tells how sure it is.
    """

    layers: Mapping[str, Comoments]
    half: Mapping[str, Comoments] = field(default_factory=dict)

    def merge(self, other: Moments) -> Moments:
        """With the samples of `other`; streams of one batch each are a half each."""
        if self.layers.keys() != other.layers.keys():
            raise StaleObservations("the moments are of different layers; observe() the same model everywhere")
        layers = {name: seen + other.layers[name] for name, seen in self.layers.items()}
        if not self.half or not other.half:
            return Moments(layers)
        return Moments(layers, {n: seen + (other.layers[n] - other.half[n]) for n, seen in self.half.items()})

    def halves(self) -> tuple[Moments, Moments]:
        """The moments of every second batch, and of the others."""
        if not self.half:
            raise UnusableData("these moments were kept without halves, by an older version; observe() again")
        rest = {name: seen - self.half[name] for name, seen in self.layers.items()}
        if not all(seen.count > 0 for half in (self.half, rest) for seen in half.values()):
            raise UnusableData("the moments are of one batch, which has no halves; observe() two batches or more")
        return Moments(self.half), Moments(rest)

    def tensors(self) -> dict[str, Tensor]:
        """All sums by name, for a file."""
        kinds = {"moments": self.layers, "half": self.half}
        return {
            f"{kind}.{name}.{each.name}": getattr(seen, each.name).contiguous()
            for kind, layers in kinds.items()
            for name, seen in layers.items()
            for each in fields(Comoments)
        }

    def shapes(self) -> dict[str, list[int]]:
        """name -> groups and columns, as JSON knows it."""
        return {name: list(seen.x.shape) for name, seen in self.layers.items()}

    @classmethod
    def read(cls, shapes: Mapping[str, list[int]], tensor: Callable[[str], Tensor]) -> Moments:
        """What `shapes` and `tensors` said; raises ValueError if they contradict each other."""
        layers = _read("moments", shapes, tensor)
        try:
            return cls(layers, _read("half", shapes, tensor))
        except SafetensorError:  # a file of an older version has none
            return cls(layers)


def _read(kind: str, shapes: Mapping[str, list[int]], tensor: Callable[[str], Tensor]) -> dict[str, Comoments]:
    moments = {}
    for name, (groups, columns) in shapes.items():
        seen = Comoments(*(tensor(f"{kind}.{name}.{each.name}") for each in fields(Comoments)))
        expected = [(), (groups, columns), (groups, columns), (groups, columns, columns)]
        if [tuple(getattr(seen, each.name).shape) for each in fields(Comoments)] != expected:
            raise ValueError(f"{kind} of {name} don't fit {groups} groups of {columns} columns")
        moments[str(name)] = seen
    return moments


class Reading:
    """Collects moments while a model runs, batch by batch."""

    def __init__(self) -> None:
        self.halves: tuple[dict[str, Comoments], dict[str, Comoments]] = ({}, {})
        self.batches = 0

    def note(self, name: str, layer: Any, x: Tensor) -> None:
        """Count what a layer reads in this batch; the places of large maps that count are the same for all layers."""
        samples = samples_of(layer, x, seed=self.batches)
        groups, _, columns = samples.shape
        for half in self.halves:
            if name not in half:
                half[name] = Comoments.empty(groups, columns, columns, device=samples.device)
        self.halves[self.batches % 2][name].add_(samples, samples)

    def moments(self) -> Moments:
        one, other = ({name: _on_host(seen) for name, seen in half.items()} for half in self.halves)
        return Moments({name: seen + other[name] for name, seen in one.items()}, one)


def is_read(layer: Any) -> bool:
    """Whether the moments of what it reads are kept: more than one column for each output, and not too many."""
    if not reads(layer):
        return False
    columns = layer.weight.shape[input_axis(layer)] // (groups_of(layer) if input_axis(layer) == 0 else 1)
    return bool(1 < columns <= MOST_COLUMNS)


def _on_host(seen: Comoments) -> Comoments:
    return Comoments(*(getattr(seen, each.name).to(torch.device("cpu")) for each in fields(Comoments)))
