"""Kernel-distance entropy and matrix Renyi entropy."""

import doctest
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from infoprune.estimators import distances, entropy
from infoprune.estimators.entropy import kernel_distance_entropy, renyi, softmax_entropy
from infoprune.estimators.hsic import gaussian_gram

seeds = st.integers(0, 10_000)


def random_kernels(seed, *shape, scale=0.1):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("module", [distances, entropy])
def test_the_examples_run(module):
    globs = vars(module) | {"torch": torch}
    failed, tried = doctest.testmod(module, extraglobs=globs)
    assert tried
    assert failed == 0


def test_entropy_of_two_kernels_is_a_coin_s():
    assert kernel_distance_entropy(torch.tensor([[0.0, 1.0], [2.0, 5.0]])) == 1.0


def test_entropy_of_three_numbers_in_closed_form():
    odds = torch.tensor([4.0, 3.0, 5.0]).exp()
    p = odds / odds.sum()
    torch.testing.assert_close(kernel_distance_entropy(torch.tensor([[0.0], [1.0], [3.0]])), -(p * p.log2()).sum())


@pytest.mark.parametrize("scale", [1e-4, 0.01, 0.1, 1.0])
@pytest.mark.parametrize("n", [63, 64, 65, 500, 5003])
def test_the_entropy_of_numbers_read_at_their_ends_is_that_of_all(n, scale):
    numbers = random_kernels(n, 4, n, scale=scale).double()
    numbers[1].pow_(3)
    numbers[2, : n // 2] = numbers[2, 0]
    sims = torch.stack([(numbers - numbers[:, [k]]).abs().sum(-1) for k in range(n)], -1)
    logs = sims.log_softmax(-1)
    expected = -(logs.exp() * logs).sum(-1) / math.log(2)
    found = kernel_distance_entropy(numbers[..., None])
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("n", [4096, 5003])
def test_the_ends_of_long_rows_are_those_of_the_sorted_rows(n):
    numbers = random_kernels(n, 3, n)
    numbers[1] = numbers[1].sort().values
    smallest, largest = entropy._ends(numbers)
    ascending = numbers.sort(-1).values
    assert torch.equal(smallest, ascending[:, : entropy.ENDS])
    assert torch.equal(largest, ascending.flip(-1)[:, : entropy.ENDS])


def test_saturated_rows_keep_their_digits_beside_rows_that_are_sorted():
    numbers = torch.stack([random_kernels(0, 4096), random_kernels(1, 4096, scale=1e-4)])
    together = kernel_distance_entropy(numbers[..., None])
    apart = torch.stack([kernel_distance_entropy(row[:, None]) for row in numbers])
    torch.testing.assert_close(together, apart)
    assert together[0] < 0.1 < together[1]


@given(seeds, st.integers(1, 40), st.sampled_from([1, 4, 9]), st.sampled_from([0.01, 0.3, 3.0]))
def test_entropy_lies_between_zero_and_log2_n(seed, n, d, scale):
    h = kernel_distance_entropy(random_kernels(seed, 3, n, d, scale=scale))
    assert (h >= -1e-6).all()
    assert (h <= math.log2(n) + 1e-5).all()


@given(seeds, st.sampled_from([1, 4, 9]), st.sampled_from(["euclidean", "manhattan", "chebyshev", "cosine"]))
def test_entropy_does_not_depend_on_the_order_of_kernels(seed, d, distance):
    kernels = random_kernels(seed, 20, d)
    shuffled = kernels[torch.randperm(20, generator=torch.Generator().manual_seed(seed))]
    torch.testing.assert_close(
        kernel_distance_entropy(shuffled, distance=distance),
        kernel_distance_entropy(kernels, distance=distance),
    )


@given(seeds, st.sampled_from([1, 9]))
def test_shifting_all_kernels_changes_nothing(seed, d):
    kernels = random_kernels(seed, 2, 16, d)
    shifted = kernels + random_kernels(seed + 1, d)
    torch.testing.assert_close(kernel_distance_entropy(shifted), kernel_distance_entropy(kernels), rtol=1e-4, atol=1e-5)


@given(seeds, st.sampled_from([1, 9]))
def test_growing_weights_lower_the_entropy(seed, d):
    kernels = random_kernels(seed, 16, d)
    assert kernel_distance_entropy(2 * kernels) <= kernel_distance_entropy(kernels) + 1e-6


@given(seeds, st.sampled_from([1, 9]), st.sampled_from(["euclidean", "manhattan", "chebyshev", "cosine"]))
def test_n_minus_one_nearest_are_all(seed, d, distance):
    kernels = random_kernels(seed, 2, 12, d)
    full = kernel_distance_entropy(kernels, distance=distance)
    assert torch.equal(kernel_distance_entropy(kernels, nearest=11, distance=distance), full)
    assert torch.equal(kernel_distance_entropy(kernels, nearest=50, distance=distance), full)
    almost = kernel_distance_entropy(kernels, nearest=10, distance=distance)
    assert almost.isfinite().all()


def test_leading_axes_are_batch():
    kernels = random_kernels(0, 2, 3, 8, 9)
    each = torch.stack([torch.stack([kernel_distance_entropy(k) for k in row]) for row in kernels])
    torch.testing.assert_close(kernel_distance_entropy(kernels), each)


@pytest.mark.parametrize("d", [1, 9])
def test_no_filters_have_no_entropies(d):
    assert kernel_distance_entropy(torch.empty(0, 4, d)).shape == (0,)


@pytest.mark.parametrize("d", [1, 9])
def test_takes_parameters_as_they_are(d):
    kernels = torch.nn.Parameter(random_kernels(0, 6, d))
    assert not kernel_distance_entropy(kernels).requires_grad


def test_filters_without_kernels_are_refused():
    with pytest.raises(ValueError, match="no kernels"):
        kernel_distance_entropy(torch.empty(3, 0, 4))


def test_softmax_entropy_survives_large_logits():
    assert softmax_entropy(torch.tensor([1e30, 1e30])) == 1.0
    assert softmax_entropy(torch.tensor([1e30, 0.0])) < 1e-30


@pytest.mark.parametrize("alpha", [0.5, 1.01, 2.0, 5.0])
@pytest.mark.parametrize("n", [1, 2, 8])
def test_renyi_of_equal_eigenvalues_is_log2_n(alpha, n):
    torch.testing.assert_close(renyi(torch.eye(n) * 7, alpha=alpha), torch.tensor(math.log2(n)))


@given(seeds, st.floats(0.1, 10))
def test_renyi_ignores_the_scale_and_the_order_of_samples(seed, scale):
    gram = gaussian_gram(random_kernels(seed, 10, 4))
    order = torch.randperm(10, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(renyi(scale * gram), renyi(gram))
    torch.testing.assert_close(renyi(gram[order][:, order]), renyi(gram))


@given(seeds)
def test_renyi_falls_with_its_order_and_nears_shannon_s(seed):
    gram = gaussian_gram(random_kernels(seed, 12, 3)).double()
    shares = torch.linalg.eigvalsh(gram / 12).clamp(min=1e-300)
    shannon = -(shares * shares.log2()).sum()
    low, near, high = (renyi(gram, alpha=a) for a in (0.5, 1.000001, 3.0))
    assert low >= near >= high
    torch.testing.assert_close(near, shannon, rtol=1e-4, atol=1e-4)


def test_renyi_is_batched():
    grams = torch.stack([torch.eye(4), torch.ones(4, 4)])
    torch.testing.assert_close(renyi(grams), torch.tensor([2.0, 0.0]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("alpha", [0.0, -1.0, 1.0, float("nan")])
def test_renyi_refuses_orders_without_a_meaning(alpha):
    with pytest.raises(ValueError, match="alpha"):
        renyi(torch.eye(3), alpha=alpha)
