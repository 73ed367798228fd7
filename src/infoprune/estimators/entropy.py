"""Entropies in bits: of a filter's kernels by their distances, and of a Gram matrix by its eigenvalues."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import torch
from torch import Tensor

from infoprune.estimators.distances import (
    Distance,
    check_distance,
    check_nearest,
    distance_sums,
    sorted_rises,
    sorted_sums,
)
from infoprune.estimators.hsic import gaussian_gram as gaussian_gram  # the name it had here

ROWS = 2**18  # numbers sorted at once: 1 MiB of float32
NEGLIGIBLE = -80.0  # logit whose share vanishes; numbers too small for float32 are slow to compute with
ENDS = 32  # numbers at each end of a row that mostly hold all probability
REST = -40.0  # logit below which all other numbers of a row hold none
LONG = 4096  # numbers from which the ends are found faster than all are sorted
GROUP = 16  # numbers of which the largest is compared first


def kernel_distance_entropy(kernels: Tensor, *, nearest: int | None = None, distance: Distance = "euclidean") -> Tensor:
    """H = -sum_q p_q log2 p_q, p = softmax(sim), sim_q = sum_q' |w_q - w_q'|; [*batch] from [*batch, n, d].

    In bits, from 0 to log2 n: log2 n where all kernels are equally far from the others, 0 where one sum
    exceeds all others by far. With `nearest` M the sum runs over the M closest kernels. Shifting all
    kernels alike changes nothing; scaling them up lowers H, and so does adding kernels, for the sums grow
    with their number: it saturates on wide layers. Not differentiable. Tang et al., "Filter pruning based
    on information capacity and independence", eqs. 1-4.

    >>> kernel_distance_entropy(torch.zeros(2, 8, 9))
    tensor([3., 3.])
    >>> kernel_distance_entropy(torch.tensor([[0.0], [0.0], [1.0]]))
    tensor(1.4071)
    """
    entropy = double_kernel_distance_entropy(kernels, nearest=nearest, distance=distance)
    return entropy.to(torch.promote_types(kernels.dtype, torch.float32))


@torch.no_grad()
def double_kernel_distance_entropy(kernels: Tensor, *, nearest: int | None, distance: Distance) -> Tensor:
    """`kernel_distance_entropy` before it is rounded to the kernels' precision.

    Filters of few or small kernels differ in the last digits of log2 n only, which a min-max norm enlarges.
    """
    check_distance(distance)
    check_nearest(nearest)
    if not kernels.shape[-2]:
        raise ValueError(
            f"kernels have shape {tuple(kernels.shape)}: no kernels, so no entropy; give at least one each"
        )
    kernels = kernels.to(torch.promote_types(kernels.dtype, torch.float32))
    if kernels.shape[-1] == 1 and distance != "cosine":
        return _line_entropy(kernels.squeeze(-1), nearest)
    return softmax_entropy(distance_sums(kernels, nearest=nearest, distance=distance))


def softmax_entropy(logits: Tensor) -> Tensor:
    """-sum_q p_q log2 p_q for p = softmax(logits), in bits and double precision; [*batch] from [*batch, n].

    >>> softmax_entropy(torch.tensor([5.0, 5.0]))
    tensor(1., dtype=torch.float64)
    """
    below = logits.double()
    below = (below - below.amax(-1, keepdim=True)).clamp_(min=NEGLIGIBLE)
    odds = below.exp()
    total = odds.sum(-1)
    return (total.log() - odds.mul_(below).sum(-1) / total) / math.log(2)


def renyi(gram: Tensor, *, alpha: float = 1.01) -> Tensor:
    """S_alpha(A) = log2(sum_i lambda_i^alpha) / (1 - alpha), lambda_i the eigenvalues of A / tr A, in bits.

    [*batch] from symmetric positive semidefinite [*batch, n, n]; from 0 (rank one) to log2 n (all eigenvalues
    equal). As alpha nears 1 it nears von Neumann's entropy. As an estimate of the entropy of what the n
    samples were drawn from it can't exceed log2 n, so compare values of equal n only (Sanchez Giraldo, Rao &
    Principe 2015).

    >>> renyi(torch.eye(4)), renyi(torch.ones(4, 4)).abs() < 1e-4
    (tensor(2.), tensor(True))
    """
    if not alpha > 0 or alpha == 1:
        raise ValueError(f"alpha is {alpha}; give a positive order other than 1, such as 1.01 for nearly Shannon's")
    spectrum = torch.linalg.eigvalsh(gram.double()).clamp(min=0)
    shares = spectrum / spectrum.sum(-1, keepdim=True)
    entropy = shares.pow(alpha).sum(-1).log2() / (1 - alpha)
    return entropy.to(gram.dtype)


def _line_entropy(values: Tensor, nearest: int | None) -> Tensor:
    """Kernels that are numbers; the entropy does not depend on their order, so it reads them sorted."""
    n = values.shape[-1]
    everyone = nearest is None or nearest >= n - 1
    entropy_of = _ends_entropy if everyone and n >= 2 * ENDS else partial(_sorted_entropy, nearest=nearest)
    rows = values.reshape(-1, n).split(max(1, ROWS // max(1, n)))
    return torch.cat([entropy_of(row) for row in rows]).reshape(values.shape[:-1])


def _sorted_entropy(values: Tensor, nearest: int | None) -> Tensor:
    """From all sims, which the softmax needs up to a constant only."""
    ascending = _ascending(values).double()
    everyone = nearest is None or nearest >= ascending.shape[-1] - 1
    return softmax_entropy(sorted_rises(ascending) if everyone else sorted_sums(ascending, nearest=nearest))


def _ends_entropy(values: Tensor) -> Tensor:
    """From the sims of the ENDS smallest and the ENDS largest numbers, where those hold all probability.

    sim(w) = sum_q |w - w_q| is convex, so no number between the two ends has a sim above both innermost ones.
    Where these lie c = -REST nats below the largest, what is left out holds at most n (c + 1) e^-c nats of
    the entropy: 4e-12 for 25 000 kernels. Other rows are sorted.
    """
    n = values.shape[-1]
    smallest, largest = _ends(values)
    outside_in = torch.stack([-smallest, largest]).double()
    total = values.sum(-1, dtype=torch.float64)
    outermost = n * outside_in[..., 0] + torch.stack([total, -total])
    steps = torch.arange(n - 2, n - 2 * ENDS, -2, device=values.device)
    falls = (outside_in.diff() * steps).cumsum(-1)
    sims = outermost[..., None] + torch.nn.functional.pad(falls, (1, 0))
    entropies = softmax_entropy(torch.cat([*sims], -1))
    undecided = (sims[..., -1] - sims.amax((0, 2))).amax(0) > REST
    if undecided.any():
        entropies[undecided] = _sorted_entropy(values[undecided], None)
    return entropies


def _ends(values: Tensor) -> tuple[Tensor, Tensor]:
    """The ENDS smallest numbers of each row, ascending, and the ENDS largest, descending."""
    if values.shape[-1] < LONG:
        ascending = _ascending(values)
        return ascending[:, :ENDS], ascending[:, -ENDS:].flip(-1)
    return -_largest(-values), _largest(values)


def _largest(values: Tensor) -> Tensor:
    """They lie in the ENDS groups with the largest maxima: a number elsewhere has ENDS maxima above it."""
    groups = values.shape[-1] // GROUP
    grouped = values[:, : groups * GROUP].unflatten(-1, (GROUP, groups))
    best = grouped.amax(1).topk(ENDS, sorted=False).indices
    picked = grouped.gather(2, best[:, None].expand(-1, GROUP, -1)).flatten(1)
    return torch.cat([picked, values[:, groups * GROUP :]], -1).topk(ENDS).values


def _ascending(values: Tensor) -> Tensor:
    """numpy sorts floats with vector instructions, ten times as fast as torch on one core."""
    return torch.from_numpy(np.sort(values.numpy(), axis=-1)) if values.is_cpu else values.sort(dim=-1).values
