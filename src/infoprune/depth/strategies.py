"""Which of the units stay: the heads of clusters, the largest energies, drawn ones, or the least redundant."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from infoprune.depth.energies import UnitEnergies
from infoprune.errors import StaleObservations, UnusableData
from infoprune.estimators.kmeans import kmeans_1d

Strategy = Literal["clusters", "centroids", "largest", "random", "greedy"]
Energy = float | tuple[float, float]  # with its standard error, where it is known


def chooser(strategy: Strategy, units: list[str], seen: Mapping[str, Energy], seed: int) -> Callable[[int], set[str]]:
    """How many stay -> which."""
    if strategy == "random":
        order = torch.randperm(len(units), generator=torch.Generator().manual_seed(seed)).tolist()
        return lambda count: {units[i] for i in order[:count]}
    if strategy == "greedy":
        order = _by_relevance_less_redundancy(_matrix_of(seen, units))
        return lambda count: {units[i] for i in order[:count]}
    values = _values_of(seen, units)
    if strategy == "largest":
        order = values.argsort(descending=True, stable=True).tolist()
        return lambda count: {units[i] for i in order[:count]}
    if strategy in HEADS:
        return lambda count: {units[i] for i in HEADS[strategy](values, count)}
    raise ValueError(f"strategy is {strategy!r}; use 'clusters', 'centroids', 'largest', 'random' or 'greedy'")


def _largest_of_each(values: Tensor, count: int) -> list[int]:
    """The index of the largest value in each of the `count` clusters; of equal ones the first."""
    labels, _ = kmeans_1d(values, count)
    return [int(values.where(labels == k, -torch.inf).argmax()) for k in range(count)]


def _centre_of_each(values: Tensor, count: int) -> list[int]:
    """The index of the value nearest to the centre of each of the `count` clusters; of equally near ones the first."""
    labels, centres = kmeans_1d(values, count)
    return [int((values - centres[k]).abs().where(labels == k, torch.inf).argmin()) for k in range(count)]


HEADS: Mapping[str, Callable[[Tensor, int], list[int]]] = {"clusters": _largest_of_each, "centroids": _centre_of_each}


def _by_relevance_less_redundancy(correlations: np.ndarray) -> list[int]:
    """Greedy order for mean_S D(T, Y) - mean_{S x S} D(T, T'): each next unit makes the best set so far."""
    relevance, between = correlations[:-1, -1], correlations[:-1, :-1]
    order: list[int] = []
    while len(order) < len(relevance):
        rest = [i for i in range(len(relevance)) if i not in order]
        worth = [relevance[s].mean() - between[np.ix_(s, s)].mean() for s in ([*order, i] for i in rest)]
        order.append(rest[int(np.argmax(worth))])
    return order


def _values_of(seen: Mapping[str, Energy], units: Sequence[str]) -> Tensor:
    _require_same(seen, units)
    values = torch.tensor([float(e[0] if isinstance(e := seen[u], tuple) else e) for u in units], dtype=torch.float64)
    if not bool(values.isfinite().all()):
        odd = [u for u, v in zip(units, values.tolist(), strict=True) if v != v or abs(v) == float("inf")]
        raise UnusableData(
            f"the energy of {odd[0]} is not a finite number; check its activations and see the model again"
        )
    return values


def _matrix_of(seen: Mapping[str, Energy], units: Sequence[str]) -> np.ndarray:
    if not isinstance(seen, UnitEnergies) or seen.correlations is None:
        raise ValueError("the greedy strategy needs correlations; pass unit_energies(..., correlations=True)")
    _require_same(seen, units)
    rows = [list(seen).index(u) for u in units]
    return seen.correlations[np.ix_([*rows, len(seen)], [*rows, len(seen)])]


def _require_same(seen: Mapping[str, Energy], units: Sequence[str]) -> None:
    missing, odd = [u for u in units if u not in seen], [u for u in seen if u not in set(units)]
    if missing or odd:
        what = f"the energies lack {missing[:3]}" if missing else f"the model has no units {odd[:3]}"
        raise StaleObservations(f"{what}; take unit_energies() of the model as it is now")


def nested_path(strategy: Strategy, units: list[str], seen: Mapping[str, Energy], seed: int) -> dict[int, set[str]]:
    """How many stay -> which, each set within the one before."""
    if strategy not in HEADS:
        choose = chooser(strategy, units, seen, seed)
        return {count: choose(count) for count in range(1, len(units) + 1)}
    values, left = _values_of(seen, units), list(range(len(units)))
    path = {len(units): set(units)}
    while len(left) > 1:
        left = [left[i] for i in sorted(HEADS[strategy](values[left], len(left) - 1))]
        path[len(left)] = {units[i] for i in left}
    return path
