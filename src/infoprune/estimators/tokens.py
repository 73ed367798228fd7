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
    return 1 - _entropy_nats(_squares_and_sims(tokens, kernels)[1]) / math.log(2)


def token_independence(tokens: Tensor) -> Tensor:
    """sum_j |x_i - x_j|^2 = n |x_i - mean|^2 + sum_j |x_j - mean|^2; [*batch, n], never negative.

    Shifting all tokens alike changes nothing.

    >>> token_independence(torch.tensor([[[0.0, 0.0], [4.0, 4.0], [-4.0, -4.0]]]))
    tensor([[ 64., 160., 160.]])
    """
    centred = tokens - tokens.mean(-2, keepdim=True)
    squares = torch.linalg.vecdot(centred, centred)
    return tokens.shape[-2] * squares + squares.sum(-1, keepdim=True)


def token_importance(tokens: Tensor, *, kernels: int, prefix: int = 0, sigma: float = 0.8) -> Tensor:
    """sigma Norm(capacity) + (1 - sigma) Norm(independence) of the tokens after `prefix`; [*batch, n - prefix].

    Norm is min-max over the tokens of an image, small where they differ by no more than rounding and zero for equal
    tokens. One product of every token with itself serves both terms, constants and units cancel in Norm.

    Args:
        tokens: *batch x n x d.
        kernels: Into how many parts of one length a token is divided; the entropy of a token is over these parts.
        prefix: How many tokens come first that stand for no patch, such as the class token.
        sigma: The share of capacity.
    """
    parts, sims = _squares_and_sims(tokens, kernels)
    squares = parts.sum(-2)[..., prefix:]
    mean = tokens[..., prefix:, :].mean(-2, keepdim=True)
    rare = torch.sub(squares, (tokens @ mean.mT).squeeze(-1)[..., prefix:], alpha=2)
    poor = _entropy_nats(sims[..., prefix:])
    return _mixed(poor, rare, squares.amax(-1, keepdim=True), sigma)


def paper_token_importance(tokens: Tensor, *, kernels: int, sigma: float = 0.8) -> Tensor:
    """`token_importance` with the Euclidean distances of eqs. 3 and 6 as printed, which takes all pairs of tokens."""
    poor = _entropy_nats(_pairwise(_parts(tokens, kernels)).sum(-1).mT)
    rare = _pairwise(tokens).sum(-1)
    return _mixed(poor, rare, rare.amax(-1, keepdim=True), sigma)


def _mixed(poor: Tensor, rare: Tensor, scale: Tensor, sigma: float) -> Tensor:
    """sigma Norm(-poor) + (1 - sigma) Norm(rare); spreads of `rare` are known up to rounding of `scale`."""
    info = torch.finfo(rare.dtype)
    rounding = (scale * (ROUNDINGS * info.eps)).clamp(min=info.tiny)
    return torch.lerp(min_max(rare, rounding), min_max(-poor, ROUNDINGS * info.eps), sigma)


def min_max(scores: Tensor, rounding: Tensor | float) -> Tensor:
    """(x - min) / max(max - min, rounding) over the last axis, in [0, 1].

    >>> min_max(torch.tensor([[1.0, 3.0, 2.0], [5.0, 5.0, 5.0]]), 1e-6)
    tensor([[0.0000, 1.0000, 0.5000],
            [0.0000, 0.0000, 0.0000]])
    """
    low, high = torch.aminmax(scores, dim=-1, keepdim=True)
    spread = high - low
    spread = torch.maximum(spread, rounding) if isinstance(rounding, Tensor) else spread.clamp(min=rounding)
    return (scores - low) / spread


def _parts(tokens: Tensor, kernels: int) -> Tensor:
    """[*batch, n, kernels, d / kernels]; zeros are appended where d is no multiple."""
    if tokens.shape[-1] % kernels:
        tokens = torch.nn.functional.pad(tokens, (0, -tokens.shape[-1] % kernels))
    return tokens.unflatten(-1, (kernels, -1))


def _squares_and_sims(tokens: Tensor, kernels: int) -> tuple[Tensor, Tensor]:
    """|w_q|^2, and sum_q' |w_q - w_q'|^2 less what is the same for all q; [*batch, kernels, n], which vectorises.

    One product of every token with itself holds both: the second is kernels |w_q|^2 - 2 w_q . sum_q' w_q'.
    """
    flat = _parts(tokens, kernels).flatten(0, -3)
    products, shape = torch.bmm(flat, flat.mT), (*tokens.shape[:-1], kernels)
    squares = products.diagonal(dim1=1, dim2=2).unflatten(0, shape[:-1]).mT
    sums = (products.view(-1, kernels) @ products.new_ones(kernels, 1)).view(shape).mT
    return squares, torch.sub(squares * kernels, sums, alpha=2)


def _entropy_nats(sims: Tensor) -> Tensor:
    """Of the softmax over the last axis but one."""
    return torch.special.entr(sims.softmax(-2)).sum(-2)


def _pairwise(points: Tensor) -> Tensor:
    """Euclidean distances, [*, n, n], from Gram products of centred points."""
    centred = points - points.mean(-2, keepdim=True)
    squares = torch.linalg.vecdot(centred, centred)
    gaps = squares[..., :, None] + squares[..., None, :] - 2 * centred @ centred.mT
    return gaps.clamp(min=0).sqrt()
