"""Information capacity and independence of filters, from their weights alone.

Tang et al., "Filter pruning based on information capacity and independence", section III. F_i is filter i of
a layer and w_q its q-th kernel; a linear layer's neuron is a filter of 1x1 kernels. In the paper a filter
belongs to the layer that computes a channel; with `readers` those that read the channel have their say too.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from infoprune.estimators.distances import Distance, check_distance, check_nearest, distance_sums
from infoprune.estimators.entropy import double_kernel_distance_entropy
from infoprune.graph.member import Member
from infoprune.importance.base import About, Importance, filters, importances, reading_filters
from infoprune.importance.normalisation import min_max
from infoprune.importance.saturation import report

PAPER = "capacity-independence"
FILTER_ROLES = ("out", "depthwise")


@dataclass(frozen=True)
class FilterImportance(Importance):
    """Rates the filters of each layer that computes the channels of a group.

    With `readers` the layers that read them are rated as well, which the paper does not: the kernels that meet
    channel c are the c-th filter there. `reduction` merges what they all say.
    """

    readers: bool = field(default=False, kw_only=True)

    @abstractmethod
    def rate(self, weights: Tensor, name: str) -> Tensor:
        """One score a filter, from the [filters, kernels, weights of a kernel] of the layer `name`."""

    def score(self, member: Member) -> Tensor | None:
        if member.role in FILTER_ROLES:
            weights, of_entry, name = filters(member), member.index, member.name
        elif self.readers and member.role == "in":
            weights, of_entry = reading_filters(member)
            name = f"{member.name} as a reader"
        else:
            return None
        return self.rate(weights, name).to(weights.dtype)[of_entry]


@importances.register("capacity")
@dataclass(frozen=True)
class CapacityImportance(FilterImportance):
    """IM_cap(F_i) = 1 - H(F_i), H the entropy of the filter's kernels in bits (eqs. 1-5).

    From 1 - log2(kernels) to 1, and 1 for every filter of a single kernel, such as a depthwise one: it says
    nothing there. See `kernel_distance_entropy` for H, and `saturation` for where it stops telling filters
    apart.

    Args:
        nearest: The M of eq. 4: how many of the nearest kernels count; all of them by default.
        distance: Between kernels.
        normalizer: Makes groups comparable where a pruner ranks them together: a word of torch-pruning such as "mean",
            a function, or None for scores as they are.
        reduction: How what several layers say of one unit becomes one score: "mean", "sum", "max", "prod" or "first".
        readers: Rate the layers that read a channel as well, which the paper does not.

    >>> CapacityImportance(nearest=8)
    CapacityImportance(normalizer=None, reduction='mean', readers=False, nearest=8, distance='euclidean')
    """

    about: ClassVar[About] = About(PAPER, "filters x kernels^2, n log n for 1x1 kernels", needs_data=False)

    nearest: int | None = None
    distance: Distance = "euclidean"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_nearest(self.nearest)
        check_distance(self.distance)

    def rate(self, weights: Tensor, name: str) -> Tensor:
        return capacity(weights, name, self.nearest, self.distance)


@importances.register("independence")
@dataclass(frozen=True)
class IndependenceImportance(FilterImportance):
    """IM_ind(F_i) = sum_i' |F_i - F_i'|, how far a filter lies from all others of its layer (eq. 6).

    Never negative and in the units of the weights, so it grows with a layer's width and with the scale of its
    weights. Equal filters get equal scores. Shifting all filters by the same amount changes nothing.

    Args:
        distance: Between filters.
        normalizer: Makes groups comparable where a pruner ranks them together: a word of torch-pruning such as "mean",
            a function, or None for scores as they are.
        reduction: How what several layers say of one unit becomes one score: "mean", "sum", "max", "prod" or "first".
        readers: Rate the layers that read a channel as well, which the paper does not.
    """

    about: ClassVar[About] = About(PAPER, "filters^2 x weights of a filter", needs_data=False)

    distance: Distance = "euclidean"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_distance(self.distance)

    def rate(self, weights: Tensor, name: str) -> Tensor:
        return independence(weights, self.distance)


@importances.register("capacity_independence")
@dataclass(frozen=True)
class CapacityIndependenceImportance(FilterImportance):
    """sigma Norm(IM_cap) + (1 - sigma) Norm(IM_ind), Norm being min-max over the filters of a layer (eq. 7).

    In [0, 1]. What does not vary in a layer has Norm zero, so that depthwise layers rest on independence alone.

    Args:
        sigma: The share of capacity, in [0, 1].
        nearest: As in `CapacityImportance`.
        distance: Between kernels and between filters.
        independence_distance: Another distance between filters, as table VII has it.
        normalizer: Makes groups comparable where a pruner ranks them together: a word of torch-pruning such as "mean",
            a function, or None for scores as they are.
        reduction: How what several layers say of one unit becomes one score: "mean", "sum", "max", "prod" or "first".
        readers: Rate the layers that read a channel as well, which the paper does not.

    >>> CapacityIndependenceImportance(sigma=1.5)
    Traceback (most recent call last):
    ValueError: sigma is 1.5, the share of capacity; it must lie in [0, 1]
    """

    about: ClassVar[About] = About(PAPER, "that of capacity and independence together", needs_data=False)

    sigma: float = 0.8
    nearest: int | None = None
    distance: Distance = "euclidean"
    independence_distance: Distance | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sigma(self.sigma)
        check_nearest(self.nearest)
        check_distance(self.distance)
        check_distance(self.independence_distance or self.distance)

    def rate(self, weights: Tensor, name: str) -> Tensor:
        between = self.independence_distance or self.distance
        return mix(weights, name, self.sigma, self.nearest, self.distance, between)


def check_sigma(sigma: float) -> None:
    if not 0 <= sigma <= 1:
        raise ValueError(f"sigma is {sigma}, the share of capacity; it must lie in [0, 1]")


def mix(
    weights: Tensor,
    name: str,
    sigma: float,
    nearest: int | None = None,
    distance: Distance = "euclidean",
    independence_distance: Distance = "euclidean",
) -> Tensor:
    """Eq. 7 for every filter of the layer `name`."""
    rich = min_max(capacity(weights, name, nearest, distance))
    rare = min_max(independence(weights, independence_distance))
    return sigma * rich + (1 - sigma) * rare


def capacity(weights: Tensor, name: str, nearest: int | None, distance: Distance) -> Tensor:
    """1 - H of every filter of the layer `name`, in double, from [filters, kernels, weights of a kernel]."""
    entropies = double_kernel_distance_entropy(weights, nearest=nearest, distance=distance)
    report(name, entropies, kernels=weights.shape[1])
    return 1 - entropies


def independence(weights: Tensor, distance: Distance) -> Tensor:
    """Sum of distances to the layer's other filters: [filters] from [filters, ...]."""
    return distance_sums(weights.flatten(1), distance=distance)
