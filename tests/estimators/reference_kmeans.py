"""k-means on the line by trying every partition."""

import itertools


def sum_of_squares(values):
    centre = sum(values) / len(values)
    return sum((value - centre) ** 2 for value in values)


def best_cost(values, k):
    """The least within-cluster sum of squares over all ways to cut the sorted values into k parts."""
    values, n = sorted(values), len(values)
    cuts = (((0, *inner), (*inner, n)) for inner in itertools.combinations(range(1, n), k - 1))
    return min(sum(sum_of_squares(values[a:b]) for a, b in zip(starts, ends, strict=True)) for starts, ends in cuts)


def best_cost_of_any_partition(values, k):
    """The same over all set partitions, contiguous or not: for a handful of values."""
    best = float("inf")
    for labels in itertools.product(range(k), repeat=len(values)):
        if len(set(labels)) == k:
            groups = ([v for v, label in zip(values, labels, strict=True) if label == c] for c in range(k))
            best = min(best, sum(sum_of_squares(group) for group in groups))
    return best
