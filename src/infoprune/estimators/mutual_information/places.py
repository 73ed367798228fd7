"""Patches of feature maps, the output patches at the same places, and their clusters."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from infoprune.estimators.moments import samples


def patches(maps: Tensor, size: int) -> Tensor:
    """Feature maps images x channels x h x w as channels x (images * rows * columns) x size^2 patches.

    Rows and columns that do not fill a patch at the lower and right border are left out.

    >>> patches(torch.arange(8.0).reshape(1, 1, 2, 4), 2)
    tensor([[[0., 1., 4., 5.],
             [2., 3., 6., 7.]]])
    """
    if maps.dim() != 4:
        raise ValueError(f"maps have shape {tuple(maps.shape)}; pass images x channels x height x width")
    images, channels, height, width = maps.shape
    rows, columns = (side // size if size > 0 else 0 for side in (height, width))
    if not rows * columns:
        raise ValueError(f"no patch of size {size} fits maps of {height} x {width}; choose 1 to {min(height, width)}")
    grid = maps[..., : rows * size, : columns * size].reshape(images, channels, rows, size, columns, size)
    return grid.permute(1, 0, 2, 4, 3, 5).reshape(channels, images * rows * columns, size * size)


def corresponding_patches(features: Tensor, outputs: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Patches of features and of what lies at the same place in an output image (the paper's fig. 1).

    Features images x channels x h x w give channels x n x size^2; outputs images x c x H x W, where H / h = W
    / w, give n x (c M^2) with M = size H / h.

    >>> x, y = corresponding_patches(torch.rand(2, 5, 4, 8), torch.rand(2, 3, 16, 32), 2)
    >>> x.shape, y.shape
    (torch.Size([5, 16, 4]), torch.Size([16, 192]))
    """
    (images, _, h, w), (others, _, height, width) = features.shape, outputs.shape
    side = size * height // h
    if images != others or height * w != width * h or side * h != size * height:
        raise ValueError(
            f"{images} features of {h} x {w} and {others} outputs of {height} x {width} do not correspond in "
            f"patches of {size}; resize the outputs to a multiple of the features"
        )
    kept = outputs[..., : (h // size) * side, : (w // size) * side] if h >= size and w >= size else outputs
    return patches(features, size), patches(kept, side).permute(1, 0, 2).flatten(1)


def cluster_centres(points: Tensor, clusters: int, *, seed: int) -> Tensor:
    """The centres, clusters x d, that scikit-learn's k-means finds among `points` n x d from this seed."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    points = samples(points, "points", at_least=1)
    if not 1 <= clusters <= len(points):
        raise ValueError(f"clusters is {clusters}; it must lie between 1 and the number of points, {len(points)}")
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            fitted = KMeans(clusters, n_init="auto", random_state=seed).fit(points.cpu().numpy())
        except ConvergenceWarning as warning:
            raise ValueError(f"{clusters} clusters need as many different points; ask for fewer") from warning
    return torch.from_numpy(fitted.cluster_centers_)


def nearest_centre(points: Tensor, centres: Tensor) -> Tensor:
    """The index of the nearest of `centres` K x d to each of `points` n x d (or n numbers): n integers."""
    points = points.unsqueeze(-1) if points.dim() == 1 else points
    return torch.cdist(points.to(centres), centres).argmin(-1)


def cluster_outputs(points: Tensor, clusters: int, *, seed: int) -> Tensor:
    """Output patches n x d as n cluster indices, by scikit-learn's k-means with this seed."""
    return nearest_centre(points, cluster_centres(points, clusters, seed=seed))
