"""Entropies: of a filter's kernels by their distances, and of a matrix by its eigenvalues."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from infoprune.estimators.distances import Distance, check_distance, check_nearest, distance_sums


def kernel_distance_entropy(
    kernels: Tensor, *, nearest: int | None = None, distance: Distance = "euclidean"
) -> Tensor:
    """H = -sum_q p_q log2 p_q with p = softmax(sim) and sim_q = sum_q' |w_q - w_q'|; [*batch] from [*batch, n, d].

    In bits, between 0 and log2 n.

    >>> kernel_distance_entropy(torch.tensor([[0.0], [0.0]]))
    tensor(1.)
    """
    check_nearest(nearest)
    check_distance(distance)
    sums = distance_sums(kernels, nearest=nearest, distance=distance)
    log_p = sums.log_softmax(-1)
    return -(log_p.exp() * log_p).sum(-1) / math.log(2)


def renyi(gram: Tensor, *, alpha: float = 1.01) -> Tensor:
    """S_alpha(A) = log2(sum_i lambda_i(A)^alpha) / (1 - alpha), lambda the eigenvalues of A; [*batch] from [*batch, n, n]."""
    if alpha <= 0 or alpha == 1:
        raise ValueError(
            f"alpha is {alpha}; it must be positive and not 1 (take 1.01 to stand for Shannon's)"
        )
    scale = gram.diagonal(dim1=-2, dim2=-1).sum(-1)
    spectrum = torch.linalg.eigvalsh(gram / scale[..., None, None]).clamp(min=0)
    return spectrum.pow(alpha).sum(-1).log2() / (1 - alpha)
