"""Whether capacity can tell the filters of a layer apart."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

from torch import Tensor, nn

from infoprune.estimators.distances import Distance
from infoprune.estimators.entropy import kernel_distance_entropy
from infoprune.importance.base import kernels_of

log = logging.getLogger(__name__)

SATURATED = 0.01  # of the largest possible entropy


@dataclass(frozen=True)
class Saturation:
    """How many filters of a layer the softmax has driven to one kernel, and how many share their capacity.

    `saturated` is the share of filters whose entropy is below a hundredth of log2(kernels), so that nearly
    all probability lies on a single kernel and capacity is 1 less rounding. `tied` is the share of filters
    whose capacity equals another one's. A layer of single kernels has nothing to saturate: its capacity is 1
    for every filter.
    """

    layer: str
    kernels: int
    saturated: float
    tied: float

    @property
    def constant(self) -> bool:
        return self.kernels == 1

    def __str__(self) -> str:
        if self.constant:
            return f"{self.layer}: one kernel per filter, so capacity is 1 and only independence ranks"
        return (
            f"{self.layer}: {self.saturated:.0%} of the filters saturated and {self.tied:.0%} tied, "
            f"{self.kernels} kernels each"
        )

    @classmethod
    def of(cls, layer: str, entropies: Tensor, kernels: int) -> Saturation:
        """From the entropies of a layer's filters, in bits."""
        low = entropies < SATURATED * math.log2(max(2, kernels))
        _, counts = entropies.unique(return_counts=True)
        tied = int(counts[counts > 1].sum()) / len(entropies)
        return cls(layer, kernels, saturated=float(low.float().mean()) if kernels > 1 else 0.0, tied=tied)


def saturation(
    model: nn.Module, *, nearest: int | None = None, distance: Distance = "euclidean"
) -> tuple[Saturation, ...]:
    """The saturation of capacity in every convolution and linear layer, in the model's order.

    Where `saturated` is high, capacity ranks few filters: take `nearest`, which sums over the M closest
    kernels only.

    >>> [layer] = saturation(nn.Conv2d(1, 8, 3))
    >>> print(layer)
    the model: one kernel per filter, so capacity is 1 and only independence ranks
    """
    layers = {
        name or "the model": layer
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear | nn.modules.conv._ConvNd)
    }
    weights = {name: kernels_of(layer, name) for name, layer in layers.items()}
    return tuple(
        Saturation.of(name, kernel_distance_entropy(w, nearest=nearest, distance=distance), w.shape[1])
        for name, w in weights.items()
    )


def report(layer: str, entropies: Tensor, kernels: int) -> None:
    """Log, at level INFO, a layer whose capacity is constant, or saturated in most filters."""
    if not log.isEnabledFor(logging.INFO):
        return
    saturation = Saturation.of(layer, entropies, kernels)
    if saturation.constant or saturation.saturated > 0.5:
        log.info("%s", saturation)
