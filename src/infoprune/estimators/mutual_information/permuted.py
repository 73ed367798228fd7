"""The mean of the plug-in estimate over all permutations of the labels, exactly."""

from __future__ import annotations

import numpy as np
import torch
from scipy.special import gammaln
from torch import Tensor

TERMS_AT_ONCE = 1 << 16


def permuted_means(sizes: list[Tensor], by_task: list[Tensor]) -> Tensor:
    """The mean of the plug-in estimate over all permutations of the labels: features x tasks.

    Vinh et al. (2010). It depends on how often patterns and labels occur alone, and patterns of equal size
    contribute equally.
    """
    times = [torch.bincount(one) for one in sizes]
    feature = torch.cat([torch.full_like(one.nonzero().flatten(), f) for f, one in enumerate(times)])
    size = torch.cat([one.nonzero().flatten() for one in times])
    how_often = torch.cat([one[one > 0] for one in times]).double()
    distinct, which = size.unique(return_inverse=True)
    terms = [_permuted_terms(distinct.numpy(), labels[labels > 0].numpy(), int(labels.sum())) for labels in by_task]
    each = how_often.unsqueeze(1) * torch.from_numpy(np.stack(terms, 1))[which]
    return torch.zeros(len(sizes), len(by_task), dtype=torch.float64).index_add_(0, feature, each)


def _permuted_terms(sizes: np.ndarray, by_label: np.ndarray, n: int) -> np.ndarray:
    """sum_b E[k/n log(n k / a b)] for each a in `sizes`, k hypergeometric: a of n drawn, b of n marked.

    Only k within ten standard deviations of the mean are summed; the others weigh less than 1e-20.
    """
    a, b = (side.astype(np.float64).ravel() for side in np.broadcast_arrays(sizes[:, None], by_label[None]))
    mean = a * b / n
    spread = 10 * np.sqrt(mean * (1 - a / n) * (1 - b / n)) + 10
    low = np.maximum(np.maximum(1, a + b - n), np.floor(mean - spread))
    high = np.minimum(np.minimum(a, b), np.ceil(mean + spread))
    lengths = (high - low + 1).astype(np.int64)
    blocks = np.searchsorted(np.cumsum(lengths), np.arange(TERMS_AT_ONCE, lengths.sum(), TERMS_AT_ONCE))
    parts = np.split(np.arange(len(a)), np.unique(blocks))
    log_factorial = gammaln(np.arange(1.0, n + 2))
    sums = [_sum_terms(a[p], b[p], low[p], lengths[p], log_factorial) for p in parts if len(p)]
    return np.concatenate(sums).reshape(len(sizes), len(by_label)).sum(1)


def _sum_terms(
    a: np.ndarray, b: np.ndarray, low: np.ndarray, lengths: np.ndarray, log_factorial: np.ndarray
) -> np.ndarray:
    """One sum for each pair (a, b), over `lengths` values of k from `low` on."""
    n = len(log_factorial) - 1
    a, b, low = (side.astype(np.int64) for side in (a, b, low))
    owner = np.repeat(np.arange(len(a)), lengths)
    k = np.arange(lengths.sum()) - (np.cumsum(lengths) - lengths - low)[owner]
    fixed = sum(log_factorial[each] for each in (a, b, n - a, n - b)) - log_factorial[n]
    varying = sum(log_factorial[each] for each in (k, a[owner] - k, b[owner] - k, (n - a - b)[owner] + k))
    weight = np.exp(fixed[owner] - varying) * k / n
    return np.bincount(owner, weight * np.log(k * (n / (a * b))[owner]), len(a))
