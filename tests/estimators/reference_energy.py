"""Energy statistics spelled like the paper, one distance at a time."""

import math

import torch


def energy_eq_4(x, y):
    """2/(nm) sum |x_i - y_j| - 1/n^2 sum |x_i - x_j| - 1/m^2 sum |y_i - y_j|."""

    def mean_distance(a, b):
        return sum(torch.linalg.vector_norm(p - q) for p in a for q in b) / (len(a) * len(b))

    return 2 * mean_distance(x, y) - mean_distance(x, x) - mean_distance(y, y)


def dependence_definition_2(features, labels):
    """The maximum over all pairs of classes, one pair at a time."""
    classes = labels.unique().tolist()
    return max(energy_eq_4(features[labels == i], features[labels == j]) for i in classes for j in classes)


def mean_distance_of_normals(shift, variance):
    """E|Z| for Z ~ N(shift, variance)."""
    scale = math.sqrt(variance)
    return scale * math.sqrt(2 / math.pi) * math.exp(-(shift**2) / (2 * variance)) + shift * math.erf(
        shift / (scale * math.sqrt(2))
    )


def energy_of_normals(shift, scale_x, scale_y):
    """The energy distance between N(0, scale_x^2) and N(shift, scale_y^2)."""
    across = mean_distance_of_normals(shift, scale_x**2 + scale_y**2)
    return 2 * across - mean_distance_of_normals(0, 2 * scale_x**2) - mean_distance_of_normals(0, 2 * scale_y**2)
