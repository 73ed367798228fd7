"""Optimal k-means on the line: the clusters are intervals, so dynamic programming finds the best ones.

Wang & Song (2011) with the divide-and-conquer of monotone optima: O(k n log n) time, O(k n) memory. Sums of
squares come from prefix sums of centred values, so costs are exact to about 1e-15 of the total sum of
squares.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def kmeans_1d(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k clusters with the least sum of squared distances to their means: (labels n, centres k).

    Clusters are numbered from the smallest values up and none is empty; centres ascend, in the units of
    `values`. The optimum is exact. If several partitions are optimal, one is returned, and equal values may
    be parted if k exceeds the number of different values.

    >>> kmeans_1d(torch.tensor([1.0, 9.0, 2.0, 10.0]), 2)
    (tensor([0, 1, 0, 1]), tensor([1.5000, 9.5000], dtype=torch.float64))
    """
    array = _checked(values, k)
    order = np.argsort(array, kind="stable")
    ordered = array[order]
    _, splits = _solve(ordered, k)
    bounds = _trace(splits, len(array), k)
    sizes = np.diff(bounds)
    labels = np.empty(len(array), dtype=np.int64)
    labels[order] = np.repeat(np.arange(k), sizes)
    centres = np.array([part.mean() for part in np.split(ordered, bounds[1:-1])])
    return torch.from_numpy(labels), torch.from_numpy(centres)


def kmeans_1d_costs(values: Tensor, k: int | None = None) -> Tensor:
    """The least within-cluster sums of squares for 1, 2, ..., k clusters (default: as many as values).

    Never increasing; zero once there are as many clusters as different values. In squared units of `values`.

    >>> kmeans_1d_costs(torch.tensor([0.0, 2.0, 10.0]))
    tensor([56.,  2.,  0.], dtype=torch.float64)
    """
    k = len(values) if k is None else k
    array = _checked(values, k)
    costs, _ = _solve(np.sort(array), k)
    return torch.from_numpy(costs[1:, -1].copy())


def within_cluster_sums(values: Tensor, labels: Tensor) -> Tensor:
    """The sum of squared distances to each cluster's mean; squared units of `values`.

    >>> within_cluster_sums(torch.tensor([1.0, 9.0, 3.0]), torch.tensor([0, 1, 0]))
    tensor([2., 0.], dtype=torch.float64)
    """
    values = torch.as_tensor(values).double()
    counts = torch.bincount(labels)
    centres = torch.zeros(len(counts), dtype=torch.float64).index_add_(0, labels, values) / counts
    return torch.zeros_like(centres).index_add_(0, labels, (values - centres[labels]).square())


def k_by_elbow(values: Tensor, k: int | None = None) -> int:
    """The number of clusters, at most k, where the costs lie farthest below the line between their ends.

    >>> k_by_elbow(torch.tensor([0.0, 0.1, 0.2, 20.0, 20.1, 40.0, 40.1]))
    3
    """
    costs = kmeans_1d_costs(values, k)
    if len(costs) < 3 or costs[0] == costs[-1]:
        return 1
    line = torch.lerp(costs[0], costs[-1], torch.linspace(0, 1, len(costs), dtype=costs.dtype))
    return int((line - costs).argmax()) + 1


def indistinguishable(values: Tensor, standard_errors: Tensor, *, z: float = 1.96) -> Tensor:
    """Labels of the fewest groups in which all intervals, value +- z standard errors, overlap.

    "We cluster the values that cannot be distinguished from each other statistically" (the energy paper,
    3.3). Any two values of a group have overlapping intervals, so a long chain of neighbours is cut. z = 1.96
    makes 95 % intervals; two of them part only if the difference is significant at about 0.6 % (equal
    errors). z = 1.39 makes that 5 %. Groups are numbered from the smallest values up.

    >>> indistinguishable(torch.tensor([1.0, 1.1, 3.0]), torch.tensor([0.1, 0.1, 0.1]))
    tensor([0, 0, 1])
    """
    array, errors = _checked(values, 1), _checked(standard_errors, 1)
    if array.shape != errors.shape:
        raise ValueError(f"{len(array)} values and {len(errors)} standard errors; each value needs its own")
    if (errors < 0).any() or not z > 0:
        raise ValueError(f"z is {z} and the smallest standard error {errors.min()}; errors must be >= 0 and z > 0")
    lower, upper = array - z * errors, array + z * errors
    labels = np.full(len(array), -1)
    group = 0
    while (labels < 0).any():  # intervals that overlap pairwise share a point: the first upper end not yet covered
        point = upper[labels < 0].min()
        labels[(labels < 0) & (lower <= point)] = group
        group += 1
    return torch.from_numpy(labels)


def k_by_overlap(values: Tensor, standard_errors: Tensor, *, z: float = 1.96) -> int:
    """The number of groups of `indistinguishable` values: a K for `kmeans_1d` that the noise supports.

    >>> k_by_overlap(torch.tensor([1.0, 1.1, 3.0]), torch.tensor([0.1, 0.1, 0.1]))
    2
    """
    return int(indistinguishable(values, standard_errors, z=z).max()) + 1


# --- inside ---


def _checked(values: Tensor, k: int) -> np.ndarray:
    array = torch.as_tensor(values).detach().cpu().double().numpy()
    if array.ndim != 1 or len(array) == 0:
        raise ValueError(f"values have shape {array.shape}; pass at least one number in one dimension")
    if not np.isfinite(array).all():
        raise ValueError("values hold NaN or infinite numbers; remove them first")
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)):
        raise TypeError(f"k is {k!r}; it must be an integer")
    if not 1 <= k <= len(array):
        raise ValueError(f"k is {k}; it must lie between 1 and the number of values, {len(array)}")
    return array


def _solve(ordered: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """costs[c, i]: least cost of the first i values in c clusters; splits[c, i]: where the last begins."""
    n = len(ordered)
    centred = ordered - ordered.mean()
    sums, squares = (np.concatenate([[0.0], np.cumsum(part)]) for part in (centred, centred**2))
    costs = np.full((k + 1, n + 1), np.inf)
    splits = np.zeros((k + 1, n + 1), dtype=np.int64)
    costs[0, 0] = 0.0
    size = np.arange(1, n + 1)
    costs[1, 1:] = np.maximum(squares[1:] - sums[1:] ** 2 / size, 0)
    for clusters in range(2, k + 1):
        _next_row(costs, splits, clusters, sums, squares)
    return costs, splits


def _next_row(costs: np.ndarray, splits: np.ndarray, clusters: int, sums: np.ndarray, squares: np.ndarray) -> None:
    """Fill the row of one more cluster.

    The best split never moves left as i grows: solve the middles, then the halves between them. All middles
    of one depth are solved together, so numpy is called O(log n) times.
    """
    n = costs.shape[1] - 1
    first, last = np.array([clusters]), np.array([n])  # ranges of i still to solve
    low, high = np.array([clusters - 1]), np.array([n - 1])  # where their splits can lie
    while len(first):
        middle = (first + last) // 2
        best, cost = _best_split(costs[clusters - 1], low, np.minimum(high, middle - 1), middle, sums, squares)
        costs[clusters, middle], splits[clusters, middle] = cost, best
        first, last = np.concatenate([first, middle + 1]), np.concatenate([middle - 1, last])
        low, high = np.concatenate([low, best]), np.concatenate([best, high])
        alive = first <= last
        first, last, low, high = first[alive], last[alive], low[alive], high[alive]


def _best_split(before, low, high, end, sums, squares) -> tuple[np.ndarray, np.ndarray]:
    """For each end i, the first j in low..high with the least before[j] + cost of values j..i-1 together."""
    lengths = high - low + 1
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    owner = np.repeat(np.arange(len(end)), lengths)
    j = np.arange(lengths.sum()) - starts[owner] + low[owner]
    i = end[owner]
    cluster = squares[i] - squares[j] - (sums[i] - sums[j]) ** 2 / (i - j)
    total = before[j] + np.maximum(cluster, 0)
    least = np.minimum.reduceat(total, starts)
    hits = np.flatnonzero(total == least[owner])
    _, first_hit = np.unique(owner[hits], return_index=True)
    return j[hits[first_hit]], least


def _trace(splits: np.ndarray, n: int, k: int) -> np.ndarray:
    """Where each cluster begins, and n: k + 1 ascending positions."""
    bounds = [n]
    for clusters in range(k, 0, -1):
        bounds.append(int(splits[clusters, bounds[-1]]))
    return np.array(bounds[::-1])
