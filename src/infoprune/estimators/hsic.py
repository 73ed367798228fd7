"""Hilbert-Schmidt independence: how much two sets of features share, from their Gram matrices.

One formula serves every variant. Centre each Gram matrix once, then HSIC is an inner product of matrices:

    HSIC(K, L) = <centre(K), centre(L)> / norm(n)        nHSIC = HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L))

Biased (Gretton et al. 2005; the pruning paper's eqs. 6-8): centre(K) = HKH, norm = (n - 1)^2.
Unbiased (Song et al. 2012): centre is the U-centring of Székely & Rizzo (2014), norm = n (n - 3).

What is printed and what is meant: eq. 8 with centred matrices is the RV coefficient, also known as linear
CKA. Eq. 12 as printed has no centring and is Tucker's congruence coefficient; the two agree only if each
feature has mean zero. `nhsic` is eq. 8, `congruence` is eq. 12 to the letter. The factor (n - 1)^-2 cancels
in both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from infoprune.estimators.moments import Estimate, GroupedMean, samples

Gram = Callable[[Tensor], Tensor]
LEAST_UNBIASED = 4  # n (n - 3) must be positive


# --- Gram matrices ---


def linear_gram(x: Tensor) -> Tensor:
    """K_ij = <x_i - mean, x_j - mean> for samples *batch x n x d; *batch x n x n, squared units of `x`.

    HSIC does not see the mean; taking it off first keeps the digits that float32 would lose. Features that
    are constant over the samples contribute exactly nothing.

    >>> linear_gram(torch.tensor([[0.0], [2.0]]))
    tensor([[ 1., -1.],
            [-1.,  1.]])
    """
    shifted = x - x[..., :1, :]
    shifted -= shifted.mean(-2, keepdim=True)
    return shifted @ shifted.mT


def squared_distances(x: Tensor) -> Tensor:
    """D_ij = |x_i - x_j|^2 for samples *batch x n x d, from one matrix product."""
    return distances_of(linear_gram(x))


def distances_of(gram: Tensor) -> Tensor:
    """|x_i - x_j|^2 = K_ii + K_jj - 2 K_ij from inner products *batch x n x n, whatever point they are taken about."""
    squares = gram.diagonal(dim1=-2, dim2=-1)
    return (squares.unsqueeze(-1) + squares.unsqueeze(-2) - 2 * gram).clamp(min=0)


def median_bandwidth(squared: Tensor) -> Tensor:
    """The median non-zero distance, from squared distances *batch x n x n; in the units of the samples.

    >>> median_bandwidth(squared_distances(torch.tensor([[0.0], [3.0], [3.0]])))
    tensor(3.)
    """
    n = squared.shape[-1]
    row, column = torch.triu_indices(n, n, 1, device=squared.device)
    pairs = squared[..., row, column]
    pairs = pairs.where(pairs > 0, torch.nan)
    return pairs.nanmedian(-1).values.sqrt()


def gaussian_gram(x: Tensor, *, bandwidth: float | Tensor | None = None) -> Tensor:
    """K_ij = exp(-|x_i - x_j|^2 / (2 bandwidth^2)) for samples *batch x n x d; in (0, 1], without units.

    The bandwidth is a distance; left out, it is the median distance between different samples, which makes
    the matrix invariant to the scale of `x`. scikit-learn's `rbf_kernel` calls 1 / (2 bandwidth^2) `gamma`.

    >>> gaussian_gram(torch.tensor([[0.0], [2.0]]), bandwidth=2.0)
    tensor([[1.0000, 0.6065],
            [0.6065, 1.0000]])
    """
    squared = squared_distances(x)
    width = median_bandwidth(squared) if bandwidth is None else torch.as_tensor(bandwidth).to(squared)
    if not (width > 0).all():
        raise ValueError("the bandwidth is not positive; give a positive one, or samples that are not all the same")
    return gaussian_of(squared, width)


def gaussian_of(squared: Tensor, bandwidth: Tensor) -> Tensor:
    """exp(-D_ij / (2 bandwidth^2)) of squared distances *batch x n x n."""
    return (-squared / (2 * bandwidth.square())[..., None, None]).exp()


def label_gram(labels: Tensor) -> Tensor:
    """K_ij = 1 if samples i and j share their label, else 0: the linear kernel of one-hot labels, n x n.

    >>> label_gram(torch.tensor([5, 7, 5])).int()
    tensor([[1, 0, 1],
            [0, 1, 0],
            [1, 0, 1]], dtype=torch.int32)
    """
    return (labels.unsqueeze(-1) == labels.unsqueeze(-2)).double()


# --- one pair ---


def centre(k: Tensor) -> Tensor:
    """HKH with H = I - 11'/n: rows and columns then sum to zero (eq. 6); *batch x n x n."""
    return k - k.mean(-1, keepdim=True) - k.mean(-2, keepdim=True) + k.mean((-2, -1), keepdim=True)


def u_centre(k: Tensor) -> Tensor:
    """Centred without the diagonal, so that products have no bias; *batch x n x n, n >= 3.

    Off the diagonal K_ij - sum_l K_il / (n-2) - sum_l K_lj / (n-2) + sum_lm K_lm / ((n-1)(n-2)), zero on it
    (Székely & Rizzo 2014).
    """
    n = k.shape[-1]
    k = _without_diagonal(k)
    rows, columns = k.sum(-1, keepdim=True), k.sum(-2, keepdim=True)
    total = rows.sum(-2, keepdim=True)
    return _without_diagonal(k - rows / (n - 2) - columns / (n - 2) + total / ((n - 1) * (n - 2)))


def hsic(k: Tensor, l: Tensor, *, unbiased: bool = False) -> Tensor:  # noqa: E741
    """tr(K H L H) / (n - 1)^2 of Gram matrices *batch x n x n: eq. 6, zero or positive, biased up by O(1/n).

    Units are those of K times those of L. With `unbiased`, the U-statistic of Song et al. (2012), eq. 4: mean
    zero for independent samples, so it may be negative; it needs four samples. For Gaussian samples and
    linear kernels both estimate the squared Frobenius norm of the cross-covariance.

    >>> k = linear_gram(torch.tensor([[0.0], [2.0], [4.0]]))
    >>> hsic(k, k)
    tensor(16.)
    """
    _same_samples(k, l, LEAST_UNBIASED if unbiased else 2)
    return (_centred(k, unbiased) * _centred(l, unbiased)).sum((-2, -1)) / _norm(k.shape[-1], unbiased)


def nhsic(x: Tensor, y: Tensor, *, unbiased: bool = False, gram: Gram = linear_gram) -> Tensor:
    """HSIC(x, y) / sqrt(HSIC(x, x) HSIC(y, y)) of samples *batch x n x d and *batch x n x e: eq. 8; no units.

    In [0, 1] and one for a scaled, shifted or rotated copy (linear kernel). Biased upwards for small n, up to one for
    independent samples when n is far below d. Flatten feature maps with `.flatten(1)` first. Kornblith et al. (2019)
    call it centred kernel alignment.

    Args:
        x: *batch x n x d.
        y: *batch x n x e.
        unbiased: Take each HSIC without bias, so that independent samples score zero on average (the ratio keeps a bias
            of O(1/n)) and a value may be below zero.
        gram: `linear_gram` or `gaussian_gram`, or `functools.partial(gaussian_gram, bandwidth=...)`.

    >>> x = torch.tensor([[0.0, 1.0], [2.0, 0.0], [4.0, 4.0], [1.0, 3.0]])
    >>> nhsic(x, 3 * x.flip(1) + 1)
    tensor(1.)
    """
    least = LEAST_UNBIASED if unbiased else 2
    x, y = samples(x, "x", least), samples(y, "y", least)
    if x.shape[-2] != y.shape[-2]:
        raise ValueError(
            f"x has {x.shape[-2]} samples and y has {y.shape[-2]}; pass the same samples in the same order"
        )
    _not_constant(x, "x")
    _not_constant(y, "y")
    k, l = _centred(gram(x), unbiased), _centred(gram(y), unbiased)  # noqa: E741
    return _inner(k, l) / (_inner(k, k) * _inner(l, l)).sqrt()


def congruence(x: Tensor, y: Tensor) -> Tensor:
    """|Y'X|_F^2 / (|X'X|_F |Y'Y|_F) of samples *batch x n x d and *batch x n x e: eq. 12 as printed; *batch.

    In [0, 1], not centred. Refuses samples that are all zero.

    This is Tucker's congruence coefficient. After a ReLU every feature has a positive mean, which both sides share,
    so the value is close to one for unrelated layers; `nhsic` takes the means off.

    >>> congruence(torch.tensor([[1.0], [1.0]]), torch.tensor([[1.0], [1.1]])).round(decimals=3)
    tensor(0.9980)
    """
    x, y = _at_unit_scale(samples(x, "x"), "x"), _at_unit_scale(samples(y, "y"), "y")
    return _frobenius(y.mT @ x).square() / (_frobenius(x.mT @ x) * _frobenius(y.mT @ y))


# --- many layers at once ---


def pairwise_hsic(grams: Tensor, *, unbiased: bool = False) -> Tensor:
    """HSIC between every two of L Gram matrices L x n x n, as L x L, from one matrix product.

    Each matrix is centred once, in float64, which costs O(L n^2); comparing pair by pair centres it L times.
    """
    _same_samples(grams, grams, LEAST_UNBIASED if unbiased else 2)
    flat = _centred(grams.double(), unbiased).flatten(-2)
    return flat @ flat.mT / _norm(grams.shape[-1], unbiased)


def nhsic_of(hsic_matrix: Tensor) -> Tensor:
    """HSIC_ij / sqrt(HSIC_ii HSIC_jj) of *batch x L x L matrices; NaN for layers that are constant."""
    size = hsic_matrix.diagonal(dim1=-2, dim2=-1)
    return hsic_matrix / (size.unsqueeze(-1) * size.unsqueeze(-2)).sqrt()


def normalise(hsic_matrix: Tensor) -> Tensor:
    """`nhsic_of`, which refuses constant layers."""
    size = hsic_matrix.diagonal(dim1=-2, dim2=-1)
    constant = (size <= 0).reshape(-1, max(1, size.shape[-1])).any(0).nonzero().flatten().tolist()
    if constant:
        raise ValueError(f"layers {constant} are constant over the samples; leave them out of nHSIC")
    return nhsic_of(hsic_matrix)


def pairwise_nhsic(grams: Tensor, *, unbiased: bool = False) -> Tensor:
    """nHSIC between every two of L Gram matrices L x n x n: the paper's L x L matrix H."""
    return normalise(pairwise_hsic(grams, unbiased=unbiased))


# --- large feature maps ---


def sketch(x: Tensor, width: int, *, seed: int = 0) -> Tensor:
    """Random signed sums of the features of `x`, n x d -> n x width, that keep inner products on average.

    Each feature gets a random sign and falls into one of `width` buckets of equal size (Weinberger et al.
    2009), so the cost is one pass over `x`. The same seed gives the same sketch for the same d. The estimated
    <x, y> has no bias and a variance of at most (|x|^2 |y|^2 + <x, y>^2) / width: a standard error below
    sqrt(2 / width) |x| |y|. nHSIC between layers sketched with *different* seeds falls, see
    `sketch_shrinkage`. Narrow maps (d <= width) are returned unchanged.

    >>> sketch(torch.ones(3, 1000), 64).shape
    torch.Size([3, 64])
    """
    if width < 1:
        raise ValueError(f"width is {width}; a sketch needs at least one number per sample")
    features = x.shape[-1]
    if features <= width:
        return x
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(features, generator=generator).to(x.device)
    signs = torch.randint(2, (features,), generator=generator).to(x) * 2 - 1
    buckets = torch.arange(features, device=x.device) % width
    return x.new_zeros(*x.shape[:-1], width).index_add_(-1, buckets[order], x * signs)


def sketch_shrinkage(gram: Tensor, width: int) -> Tensor:
    """About the factor by which sketching one side lowers nHSIC: 1 / sqrt(1 + (1 + r) / width).

    r = tr(K)^2 / |K|_F^2 is the effective rank of the exact centred Gram matrix *batch x n x n (1 <= r < n).
    The noise of a sketch adds to |K|_F^2 but not, on average, to the product with another layer. With r = 50
    and a width of 4096 the value falls by 0.6 %.
    """
    k = centre(gram)
    trace = k.diagonal(dim1=-2, dim2=-1).sum(-1)
    rank = trace.square() / k.square().sum((-2, -1))
    return (1 + (1 + rank) / width).rsqrt()


# --- streaming ---


@dataclass(frozen=True)
class MinibatchHSIC:
    """nHSIC between every two of L layers from minibatches: a ratio of means of unbiased HSIC.

    After Nguyen et al. (2021). Each batch needs one Gram matrix per layer and leaves L x L numbers. The mean
    HSIC has no bias at any batch size; the ratio's bias vanishes with the number of batches. State is 32 L^2
    numbers in plain tensors: all-reduce its fields by summing them, or `merge`. Batches are weighted by their
    sizes; each needs four samples. With `unbiased=False` a batch of all samples leaves the biased HSIC of eq. 6.

    >>> generator = torch.Generator().manual_seed(0)
    >>> statistic = MinibatchHSIC.empty(layers=2)
    >>> for _ in range(8):
    ...     x = torch.randn(16, 3, generator=generator)
    ...     statistic = statistic.update(torch.stack([linear_gram(x), linear_gram(2 * x)]))
    >>> statistic.compute().value
    tensor([[1., 1.],
            [1., 1.]], dtype=torch.float64)
    """

    batches: GroupedMean

    @classmethod
    def empty(cls, layers: int, *, groups: int = 32) -> MinibatchHSIC:
        """Nothing seen yet; standard errors come from at most `groups` groups of batches."""
        return cls(GroupedMean.empty(layers, layers, groups=groups))

    def update(self, grams: Tensor, *, unbiased: bool = True) -> MinibatchHSIC:
        """With one more batch, given as its L Gram matrices L x n x n."""
        matrix = pairwise_hsic(grams, unbiased=unbiased)
        return MinibatchHSIC(self.batches.update(matrix, weight=grams.shape[-1]))

    def merge(self, other: MinibatchHSIC) -> MinibatchHSIC:
        """With the batches of `other` after these; equal to having seen all of them here."""
        return MinibatchHSIC(self.batches.merge(other.batches))

    def compute(self) -> Estimate:
        """The L x L nHSIC and its standard error, by leaving out one group of batches at a time."""
        return self.of(normalise)

    def of(self, function: Callable[[Tensor], Tensor]) -> Estimate:
        """A function of the mean HSIC matrix, G x L x L -> G x anything, with its standard error.

        The sum over the other layers in eq. 9 is `lambda hsic: normalise(hsic).sum(-1) - 1`; its error takes
        into account that the terms of the sum share batches.
        """
        return self.batches.jackknife(function)


# --- inside ---


def _centred(k: Tensor, unbiased: bool) -> Tensor:
    return u_centre(k) if unbiased else centre(k)


def _norm(n: int, unbiased: bool) -> int:
    return n * (n - 3) if unbiased else (n - 1) ** 2


def _inner(k: Tensor, l: Tensor) -> Tensor:  # noqa: E741
    return (k * l).sum((-2, -1))


def _without_diagonal(k: Tensor) -> Tensor:
    return k.masked_fill(torch.eye(k.shape[-1], dtype=torch.bool, device=k.device), 0)


def _same_samples(k: Tensor, l: Tensor, at_least: int) -> None:  # noqa: E741
    for gram in (k, l):
        if gram.dim() < 2 or gram.shape[-1] != gram.shape[-2]:
            raise ValueError(f"a Gram matrix is square; this one has shape {tuple(gram.shape)}")
        if not gram.isfinite().all():
            raise ValueError("a Gram matrix holds NaN or infinite numbers; look for them in the features")
    if k.shape[-1] != l.shape[-1]:
        raise ValueError(f"Gram matrices of {k.shape[-1]} and {l.shape[-1]} samples; pass the same samples to both")
    if k.shape[-1] < at_least:
        raise ValueError(f"a Gram matrix of {k.shape[-1]} sample(s); at least {at_least} are needed")


def _at_unit_scale(x: Tensor, name: str) -> Tensor:
    """The samples by their largest number, so that no square leaves the range of floats."""
    if not x.shape[-1] or (x == 0).flatten(-2).all(-1).any():
        raise ValueError(
            f"{name} is zero for all {x.shape[-2]} samples; a congruence needs numbers that differ from zero"
        )
    return x / x.abs().amax((-2, -1), keepdim=True)


def _frobenius(x: Tensor) -> Tensor:
    return torch.linalg.matrix_norm(x)


def _not_constant(x: Tensor, name: str) -> None:
    if (x == x[..., :1, :]).flatten(-2).all(-1).any():
        raise ValueError(f"{name} is the same for all {x.shape[-2]} samples; nHSIC needs samples that differ")
