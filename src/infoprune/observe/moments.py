"""What layers read, as means and covariances of their input columns: the evidence of who can stand in for whom."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from infoprune.errors import StaleObservations
from infoprune.estimators.covariance import Comoments
from infoprune.observe.reader_layers import groups_of, input_axis, reads, samples_of

MOST_COLUMNS = 4096  # 4096^2 moments are 128 MiB a layer


@dataclass(frozen=True, eq=False)
class Moments:
    """name -> sums over what the layer read, groups x columns (x columns); those of two streams add up."""

    layers: Mapping[str, Comoments]

    def merge(self, other: Moments) -> Moments:
        """With the samples of `other`."""
        if self.layers.keys() != other.layers.keys():
            raise StaleObservations("the moments are of different layers; observe() the same model everywhere")
        return Moments({name: seen + other.layers[name] for name, seen in self.layers.items()})

    def tensors(self) -> dict[str, Tensor]:
        """All sums by name, for a file."""
        return {
            f"moments.{name}.{field.name}": getattr(seen, field.name).contiguous()
            for name, seen in self.layers.items()
            for field in fields(Comoments)
        }

    def shapes(self) -> dict[str, list[int]]:
        """name -> groups and columns, as JSON knows it."""
        return {name: list(seen.x.shape) for name, seen in self.layers.items()}

    @classmethod
    def read(cls, shapes: Mapping[str, list[int]], tensor: Callable[[str], Tensor]) -> Moments:
        """What `shapes` and `tensors` said; raises ValueError if they contradict each other."""
        layers = {}
        for name, (groups, columns) in shapes.items():
            seen = Comoments(*(tensor(f"moments.{name}.{field.name}") for field in fields(Comoments)))
            expected = [(), (groups, columns), (groups, columns), (groups, columns, columns)]
            if [tuple(getattr(seen, field.name).shape) for field in fields(Comoments)] != expected:
                raise ValueError(f"moments of {name} don't fit {groups} groups of {columns} columns")
            layers[str(name)] = seen
        return cls(layers)


class Reading:
    """Collects moments while a model runs, batch by batch."""

    def __init__(self) -> None:
        self.layers: dict[str, Comoments] = {}
        self.batches = 0

    def note(self, name: str, layer: Any, x: Tensor) -> None:
        """Count what a layer reads in this batch; the places of large maps that count are the same for all layers."""
        samples = samples_of(layer, x, seed=self.batches)
        groups, _, columns = samples.shape
        if name not in self.layers:
            self.layers[name] = Comoments.empty(groups, columns, columns, device=samples.device)
        self.layers[name].add_(samples, samples)

    def moments(self) -> Moments:
        return Moments({name: _on_host(seen) for name, seen in self.layers.items()})


def is_read(layer: Any) -> bool:
    """Whether the moments of what it reads are kept: more than one column for each output, and not too many."""
    if not reads(layer):
        return False
    columns = layer.weight.shape[input_axis(layer)] // (groups_of(layer) if input_axis(layer) == 0 else 1)
    return bool(1 < columns <= MOST_COLUMNS)


def _on_host(seen: Comoments) -> Comoments:
    return Comoments(*(getattr(seen, field.name).to(torch.device("cpu")) for field in fields(Comoments)))
