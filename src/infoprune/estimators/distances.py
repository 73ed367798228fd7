"""Sums of distances from each point to the others."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from infoprune.registry import nearest as nearest_name

Distance = Literal["euclidean", "manhattan", "chebyshev", "cosine"]
ORDER = {"euclidean": 2.0, "manhattan": 1.0, "chebyshev": torch.inf}


def check_distance(distance: str) -> None:
    known = list(get_args(Distance))
    if distance not in known:
        raise ValueError(f"there is no distance {distance!r}; {nearest_name(str(distance), known)}")


def check_nearest(nearest: int | None) -> None:
    if nearest is not None and nearest < 1:
        raise ValueError(
            f"nearest is {nearest}; it counts neighbours, so give 1 or more, or None for all of them"
        )


def distance_sums(points: Tensor, *, nearest: int | None = None, distance: Distance = "euclidean") -> Tensor:
    """sum_j |x_i - x_j| over all j, or over the `nearest` closest ones; [*batch, n] from [*batch, n, d]."""
    if distance == "cosine":
        points = torch.nn.functional.normalize(points, dim=-1)
        between = 1 - points @ points.mT
    else:
        between = torch.cdist(points, points, p=ORDER[distance], compute_mode="donot_use_mm_for_euclid_dist")
    between.diagonal(dim1=-2, dim2=-1).zero_()
    if nearest is None or nearest >= points.shape[-2] - 1:
        return between.sum(-1)
    return between.topk(nearest + 1, largest=False).values.sum(-1)
