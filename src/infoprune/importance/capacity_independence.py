"""Information capacity and independence of filters, from their weights alone.

Tang et al., "Filter pruning based on information capacity and independence", section III. F_i is filter i of
a layer, w_q its q-th kernel; a linear layer's neuron is a filter of 1x1 kernels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from infoprune.estimators.distances import Distance, check_distance, check_nearest, distance_sums
from infoprune.estimators.entropy import kernel_distance_entropy
from infoprune.graph.member import Member
from infoprune.importance.base import About, Importance, filters, importances
from infoprune.importance.normalisation import min_max

PAPER = "capacity-independence"


@importances.register("capacity")
@dataclass(frozen=True)
class CapacityImportance(Importance):
    """IM_cap(F_i) = 1 - H(F_i), the entropy of a filter's kernels in bits (eqs. 1-5): at most 1, often negative."""

    about: ClassVar[About] = About(
        PAPER, "weights: n log n for 1x1 kernels, else kernels squared", needs_data=False
    )

    nearest: int | None = None
    distance: Distance = "euclidean"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_nearest(self.nearest)
        check_distance(self.distance)

    def score(self, member: Member) -> Tensor | None:
        if member.role not in ("out", "depthwise"):
            return None
        return capacity(filters(member), nearest=self.nearest, distance=self.distance)[member.index]


@importances.register("independence")
@dataclass(frozen=True)
class IndependenceImportance(Importance):
    """IM_ind(F_i) = sum_i' |F_i - F_i'|, how far a filter lies from all others of its layer (eq. 6)."""

    about: ClassVar[About] = About(PAPER, "weights: filters squared", needs_data=False)

    distance: Distance = "euclidean"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_distance(self.distance)

    def score(self, member: Member) -> Tensor | None:
        if member.role not in ("out", "depthwise"):
            return None
        return independence(filters(member), distance=self.distance)[member.index]


@importances.register("capacity_independence")
@dataclass(frozen=True)
class CapacityIndependenceImportance(Importance):
    """sigma Norm(IM_cap) + (1 - sigma) Norm(IM_ind), each min-max normalised over its layer (eq. 7), in [0, 1]."""

    about: ClassVar[About] = About(PAPER, "capacity + independence", needs_data=False)

    sigma: float = 0.8
    nearest: int | None = None
    distance: Distance = "euclidean"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.sigma <= 1:
            raise ValueError(
                f"sigma is {self.sigma}; it weighs capacity against independence and lies in [0, 1]"
            )
        check_nearest(self.nearest)
        check_distance(self.distance)

    def score(self, member: Member) -> Tensor | None:
        if member.role not in ("out", "depthwise"):
            return None
        weights = filters(member)
        rich = min_max(capacity(weights, nearest=self.nearest, distance=self.distance))
        rare = min_max(independence(weights, distance=self.distance))
        return (self.sigma * rich + (1 - self.sigma) * rare)[member.index]


def capacity(weights: Tensor, *, nearest: int | None = None, distance: Distance = "euclidean") -> Tensor:
    """1 - H of every filter, [filters] from [filters, kernels, weights of a kernel]."""
    return 1 - kernel_distance_entropy(weights, nearest=nearest, distance=distance)


def independence(weights: Tensor, *, distance: Distance = "euclidean") -> Tensor:
    """Sum of distances to the layer's other filters, [filters] from [filters, ...]."""
    return distance_sums(weights.flatten(1), distance=distance)
