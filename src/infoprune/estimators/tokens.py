"""Information capacity and independence of the tokens of one image, by squared distances in closed form.

Tang et al., "Filter pruning based on information capacity and independence", eqs. 1-7, with a token in the place of
a filter and its `kernels` equal parts (one per attention head) in the place of a filter's kernels. A sum of squared
distances to all others needs no pairs, so that both take a few passes over the tokens and no more. Tokens are
[*batch, n, d]; every image is scored by itself, permuting its tokens permutes the scores, and every function is made
of operations that export.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

ROUNDINGS = 16  # of the largest squared norm: smaller spreads are rounding


def token_capacity(tokens: Tensor, *, kernels: int) -> Tensor:
    """1 - H, H = -sum_q p_q log2 p_q, p = softmax(sim), sim_q = sum_q' |w_q - w_q'|^2; [*batch, n].

    From 1 - log2 kernels, where a token's parts w_q are equally far from each other, to 1, where one part lies far
    from the others. Shifting all parts of a token alike changes nothing.

    >>> token_capacity(torch.tensor([[[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 9.0, 0.0]]]), kernels=4)
    tensor([[-1.,  1.]])
    """
    return 1 + _negative_entropy(_part_products(tokens, kernels))


def token_independence(tokens: Tensor) -> Tensor:
    """sum_j |x_i - x_j|^2 = n |x_i|^2 - 2 n x_i . mean + sum_j |x_j|^2; [*batch, n], never negative.

    Shifting all tokens alike changes nothing.

    >>> token_independence(torch.tensor([[[0.0, 0.0], [3.0, 4.0], [3.0, 4.0]]]))
    tensor([[50., 25., 25.]])
    """
    n = tokens.shape[-2]
    centred = tokens - tokens.mean(-2, keepdim=True)
    squares = torch.linalg.vecdot(centred, centred)
    return n * squares + squares.sum(-1, keepdim=True)


def token_importance(tokens: Tensor, *, kernels: int, prefix: int = 0, sigma: float = 0.8) -> Tensor:
    """sigma Norm(capacity) + (1 - sigma) Norm(independence) of the tokens after `prefix`; [*batch, n - prefix].

    Norm is min-max over the tokens of an image, and zero where they differ by no more than rounding, so that equal
    tokens score zero. One product of every token with itself serves both terms.
    """
    products = _part_products(tokens, kernels)[..., prefix:, :, :]
    patches = tokens[..., prefix:, :]
    squares = products.diagonal(dim1=-2, dim2=-1).sum(-1)
    towards_mean = torch.matmul(patches, patches.mean(-2).unsqueeze(-1)).squeeze(-1)
    rare = squares - 2 * towards_mean
    floor = ROUNDINGS * torch.finfo(tokens.dtype).eps * squares.amax(-1, keepdim=True)
    return torch.lerp(min_max(rare, floor), min_max(_negative_entropy(products)), sigma)


def paper_token_importance(tokens: Tensor, *, kernels: int, sigma: float = 0.8) -> Tensor:
    """`token_importance` with the Euclidean distances of eqs. 3 and 6 as printed, which takes all pairs of tokens."""
    rich = _negative_entropy_of(_pairwise(_parts(tokens, kernels)).sum(-1))
    rare = _pairwise(tokens).sum(-1)
    return torch.lerp(min_max(rare), min_max(rich), sigma)


def min_max(scores: Tensor, floor: Tensor | None = None) -> Tensor:
    """(x - min) / (max - min) over the last axis, in [0, 1]; zero where max - min is at most `floor`, or rounding.

    >>> min_max(torch.tensor([[1.0, 3.0, 2.0], [5.0, 5.0, 5.0]]))
    tensor([[0.0000, 1.0000, 0.5000],
            [0.0000, 0.0000, 0.0000]])
    """
    low, high = torch.aminmax(scores, dim=-1, keepdim=True)
    if floor is None:
        floor = 8 * torch.finfo(scores.dtype).eps * torch.maximum(low.abs(), high.abs())
    spread = high - low
    return torch.where(spread > floor, (scores - low) / spread, 0.0)


def _parts(tokens: Tensor, kernels: int) -> Tensor:
    """[*batch, n, kernels, d / kernels]; zeros are appended where d is no multiple."""
    tokens = torch.nn.functional.pad(tokens, (0, -tokens.shape[-1] % kernels))
    return tokens.unflatten(-1, (kernels, -1))


def _part_products(tokens: Tensor, kernels: int) -> Tensor:
    """w_q . w_q' within every token, [*batch, n, kernels, kernels]."""
    parts = _parts(tokens, kernels)
    flat = parts.flatten(0, -3)
    return torch.bmm(flat, flat.mT).unflatten(0, parts.shape[:-2])


def _negative_entropy(products: Tensor) -> Tensor:
    """-H in bits for sim_q = kernels |w_q|^2 - 2 w_q . sum_q' w_q', which is sum_q' |w_q - w_q'|^2 less a constant."""
    squares = products.diagonal(dim1=-2, dim2=-1)
    return _negative_entropy_of(squares * products.shape[-1] - 2 * products.sum(-1))


def _negative_entropy_of(sims: Tensor) -> Tensor:
    """sum_q p_q log2 p_q, p = softmax(sims); the kernels' axis goes first, along which vectors are short."""
    below = sims - sims.amax(-1, keepdim=True)
    odds = below.exp()
    total = odds.sum(-1)
    return ((odds * below).sum(-1) / total - total.log()) / math.log(2)


def _pairwise(points: Tensor) -> Tensor:
    """Euclidean distances, [*, n, n], from Gram products of centred points."""
    centred = points - points.mean(-2, keepdim=True)
    squares = torch.linalg.vecdot(centred, centred)
    gaps = squares[..., :, None] + squares[..., None, :] - 2 * centred @ centred.mT
    return gaps.clamp(min=0).sqrt()
