"""How each channel answers to single samples: two numbers a map, for scores that set channels beside labels.

A channel's response to a sample is the mean and the root mean square of its map, (m, r), in the units of the
activations; where a channel gives a single number, that number alone. The mean tells how much there is, both
together also how much it varies from place to place; where in the map it was is forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from infoprune.errors import StaleObservations
from infoprune.estimators.energy import FeatureSample

TENSORS = ("features", "labels", "keys", "seen")
CAPACITY = 512  # samples whose responses are kept: memory is 2 x 512 numbers a channel


@dataclass(frozen=True, eq=False)
class Responses:
    """A uniform sample of at most `CAPACITY` labelled samples, with the responses of all channels to them.

    `layers` maps names to (channels, numbers a channel); the columns of `sample` follow its order.
    """

    layers: Mapping[str, tuple[int, int]]
    sample: FeatureSample

    @classmethod
    def empty(cls, batch: Mapping[str, Tensor]) -> Responses:
        """Nothing seen yet of layers that answer as in this batch."""
        return cls({name: (r.shape[1], r.shape[2]) for name, r in batch.items()}, FeatureSample.empty(CAPACITY))

    @property
    def labels(self) -> Tensor:
        """The classes of the samples that were kept."""
        return self.sample.labels

    def of(self, layer: str) -> Tensor:
        """What a layer's channels answered: channels x samples x 1 or 2."""
        names = list(self.layers)
        widths = [channels * numbers for channels, numbers in self.layers.values()]
        start = sum(widths[: names.index(layer)])
        own = self.sample.features[:, start : start + widths[names.index(layer)]]
        return own.unflatten(1, self.layers[layer]).movedim(1, 0)

    def update(self, batch: Mapping[str, Tensor], labels: Tensor, generator: torch.Generator) -> Responses:
        """With one more batch of responses, samples x channels x numbers a layer."""
        if {name: tuple(r.shape[1:]) for name, r in batch.items()} != dict(self.layers):
            raise StaleObservations("a batch ran other layers than the first; give batches that all run the same")
        features = torch.cat([batch[name].flatten(1) for name in self.layers], 1)
        return replace(self, sample=self.sample.update(features, labels.cpu().long(), generator))

    def merge(self, other: Responses) -> Responses:
        """With the samples of `other` after these."""
        return replace(self, sample=self.sample.merge(other.sample))

    def shapes(self) -> dict[str, list[int]]:
        """`layers` as JSON knows it."""
        return {name: list(shape) for name, shape in self.layers.items()}

    def tensors(self) -> dict[str, Tensor]:
        """The sample's tensors by name, for a file."""
        return {f"responses.{name}": getattr(self.sample, name).contiguous() for name in TENSORS}

    @classmethod
    def read(cls, shapes: Mapping[str, list[int]], tensor: Callable[[str], Tensor]) -> Responses:
        """What `shapes` and `tensors` said; raises ValueError if they contradict each other."""
        layers = {str(name): (int(channels), int(numbers)) for name, (channels, numbers) in shapes.items()}
        tensors = {name: tensor(f"responses.{name}") for name in TENSORS}
        n, width = len(tensors["keys"]), sum(channels * numbers for channels, numbers in layers.values())
        expected = {"features": (n, width), "labels": (n,), "keys": (n,), "seen": ()}
        if n > CAPACITY or any(tensors[name].shape != shape for name, shape in expected.items()):
            raise ValueError(f"responses of shapes {[tuple(t.shape) for t in tensors.values()]} don't fit {layers}")
        return cls(layers, FeatureSample(**tensors, capacity=CAPACITY))


@dataclass
class Running:
    """Sums over the places of a layer's maps, n x channels, while the layer is called once or more."""

    sums: Tensor
    squares: Tensor
    places: int

    @classmethod
    def of(cls, layer: nn.Module, output: Tensor, n: int) -> Running | None:
        """None for layers that are neither convolutions nor linear, and outputs without an entry a sample."""
        maps = _maps(layer, output.float(), n)
        if maps is None:
            return None
        axes = [axis for axis in range(1, maps.dim()) if axis != 2]
        squares = torch.linalg.vector_norm(maps, dim=axes).square()
        return cls(maps.sum(axes), squares, maps[0, :, 0].numel())

    def __add__(self, other: Running) -> Running:
        return Running(self.sums + other.sums, self.squares + other.squares, self.places + other.places)

    def responses(self) -> Tensor:
        """n x channels x 2, or x 1 where there is one place."""
        mean = self.sums / self.places
        numbers = [mean] if self.places == 1 else [mean, (self.squares / self.places).sqrt()]
        return torch.stack(numbers, -1).cpu()


def _maps(layer: nn.Module, output: Tensor, n: int) -> Tensor | None:
    """n x places x channels x places, of which either may be 1."""
    if len(output) != n and output.dim() > 1 and output.shape[1] == n:
        output = output.movedim(1, 0)
    if len(output) % n:
        return None
    if isinstance(layer, nn.modules.conv._ConvNd):
        return output.reshape(n, -1, layer.out_channels, output[0, 0].numel())
    if isinstance(layer, nn.Linear):
        return output.reshape(n, -1, layer.out_features, 1)
    return None


def classes_in(labels: Tensor | None, n: int) -> Tensor | None:
    """The labels if they are classes: one integer a sample."""
    if labels is None or labels.is_floating_point() or labels.is_complex():
        return None
    return labels if labels.shape == (n,) else None
