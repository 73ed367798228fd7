"""HSIC: against the papers' sums, closed forms, scikit-learn, and its own promises."""

import doctest
import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics.pairwise import linear_kernel, rbf_kernel
from tests.estimators import reference_hsic as reference

from infoprune.estimators import hsic, moments

seeds = st.integers(0, 2**31)


def generator(seed):
    return torch.Generator().manual_seed(seed)


def normals(seed, *shape):
    return torch.randn(*shape, dtype=torch.float64, generator=generator(seed))


def correlated(seed, n, rho):
    x, noise = normals(seed, n, 1), normals(seed + 1, n, 1)
    return x, rho * x + math.sqrt(1 - rho**2) * noise


def rotation(seed, d):
    return torch.linalg.qr(normals(seed, d, d))[0]


@pytest.mark.parametrize("module", [hsic, moments])
def test_examples_in_docstrings_run(module):
    results = doctest.testmod(module, extraglobs={"torch": torch}, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert results.attempted > 0
    assert results.failed == 0


# --- reference ---


@pytest.mark.parametrize("seed", range(5))
def test_biased_hsic_is_equation_6(seed):
    k, m = hsic.linear_gram(normals(seed, 12, 3)), hsic.gaussian_gram(normals(seed + 9, 12, 5))
    torch.testing.assert_close(hsic.hsic(k, m), reference.hsic_eq_6(k, m), rtol=1e-10, atol=0)


@pytest.mark.parametrize("seed", range(5))
def test_unbiased_hsic_is_the_mean_over_quadruples(seed):
    k, m = hsic.linear_gram(normals(seed, 8, 3)), hsic.gaussian_gram(normals(seed + 9, 8, 5))
    torch.testing.assert_close(hsic.hsic(k, m, unbiased=True), reference.hsic_u_statistic(k, m), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("seed", range(5))
def test_nhsic_is_equation_8(seed):
    x, y = normals(seed, 30, 4) + 3, normals(seed + 9, 30, 6) + 1
    torch.testing.assert_close(hsic.nhsic(x, y), reference.nhsic_eq_8(x, y), rtol=1e-10, atol=0)


def test_congruence_is_equation_12_and_equals_nhsic_on_centred_samples_only():
    x, y = normals(0, 30, 4) + 3, normals(1, 30, 6) + 1
    torch.testing.assert_close(hsic.congruence(x, y), reference.nhsic_eq_12(x, y), rtol=1e-10, atol=0)
    assert hsic.congruence(x, y) > 2 * hsic.nhsic(x, y)
    torch.testing.assert_close(hsic.congruence(x - x.mean(0), y - y.mean(0)), hsic.nhsic(x, y), rtol=1e-10, atol=0)


def test_congruence_scores_a_batch_at_once_whatever_the_scale():
    x, y = torch.randn(3, 9, 4), torch.randn(9, 2)
    each = torch.stack([hsic.congruence(one, y) for one in x])
    torch.testing.assert_close(hsic.congruence(x, y), each)
    torch.testing.assert_close(hsic.congruence(torch.tensor([1e30, 1.0, 1e-25])[:, None, None] * x, y), each)


@pytest.mark.parametrize("empty", [torch.zeros(5, 3), torch.empty(5, 0), torch.zeros(2, 5, 3)])
def test_congruence_of_zeros_is_refused(empty):
    with pytest.raises(ValueError, match="y is zero for all 5 samples"):
        hsic.congruence(torch.rand(5, 2), empty)


def test_no_layer_has_no_pairs():
    assert hsic.pairwise_nhsic(torch.empty(0, 5, 5)).shape == (0, 0)
    assert hsic.congruence(torch.empty(0, 5, 3), torch.rand(5, 2)).shape == (0,)


def test_gram_matrices_equal_scikit_learns():
    x = normals(0, 20, 3) + 5
    centred = (x - x.mean(0)).numpy()
    torch.testing.assert_close(hsic.linear_gram(x), torch.tensor(linear_kernel(centred)))
    expected = torch.tensor(rbf_kernel(x.numpy(), gamma=1 / (2 * 1.7**2)))
    torch.testing.assert_close(hsic.gaussian_gram(x, bandwidth=1.7), expected)
    torch.testing.assert_close(hsic.gaussian_gram(x, bandwidth=1.7), reference.gaussian_gram(x, 1.7))


def test_median_bandwidth_is_the_median_distance_between_different_samples():
    x = normals(0, 21, 3)
    assert hsic.median_bandwidth(hsic.squared_distances(x)).item() == pytest.approx(torch.pdist(x).median().item())


def test_all_pairs_at_once_equal_pair_by_pair():
    grams = torch.stack([hsic.linear_gram(normals(seed, 16, 5)) for seed in range(6)])
    torch.testing.assert_close(hsic.pairwise_nhsic(grams), reference.pairwise_nhsic(grams), rtol=1e-10, atol=0)
    unbiased = hsic.pairwise_hsic(grams, unbiased=True)
    torch.testing.assert_close(unbiased[2, 4], hsic.hsic(grams[2], grams[4], unbiased=True))


def test_a_batch_axis_scores_many_features_in_one_call():
    x, y = normals(0, 5, 20, 3), normals(1, 20, 4)
    together = hsic.nhsic(x, y)
    torch.testing.assert_close(together, torch.stack([hsic.nhsic(each, y) for each in x]))


@pytest.mark.parametrize("gram", [hsic.linear_gram, hsic.gaussian_gram])
def test_float32_agrees_with_float64_even_far_from_the_origin(gram):
    x, y = normals(0, 64, 128), normals(1, 64, 128)
    y[:, :20] = x[:, :20]
    exact = hsic.nhsic(x, y, gram=gram, unbiased=True)
    rough = hsic.nhsic((x + 30).float(), (y + 30).float(), gram=gram, unbiased=True)
    assert rough.item() == pytest.approx(exact.item(), abs=1e-4)


# --- closed form ---


def mean_and_error(values):
    values = torch.stack(list(values))
    return values.mean().item(), (values.std() / math.sqrt(len(values))).item()


@pytest.mark.parametrize("rho", [0.0, 0.3, 0.8])
def test_unbiased_hsic_of_normals_is_the_squared_covariance_on_average(rho):
    draws = (correlated(2 * seed, 24, rho) for seed in range(400))
    mean, error = mean_and_error(hsic.hsic(hsic.linear_gram(x), hsic.linear_gram(y), unbiased=True) for x, y in draws)
    assert abs(mean - rho**2) < 3.5 * error


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_unbiased_hsic_of_normals_under_gaussian_kernels_meets_its_closed_form(rho):
    gram = partial(hsic.gaussian_gram, bandwidth=1.3)
    draws = (correlated(2 * seed, 24, rho) for seed in range(400))
    mean, error = mean_and_error(hsic.hsic(gram(x), gram(y), unbiased=True) for x, y in draws)
    assert abs(mean - reference.gaussian_kernel_hsic_of_normals(rho, 1.3, 1.3)) < 3.5 * error


def test_unbiased_hsic_is_zero_on_average_where_the_biased_one_is_far_from_it():
    pairs = [(normals(2 * seed, 10, 40), normals(2 * seed + 1, 10, 40)) for seed in range(300)]
    mean, error = mean_and_error(hsic.nhsic(x, y, unbiased=True) for x, y in pairs)
    assert abs(mean) < 3.5 * error
    assert hsic.nhsic(*pairs[0]) > 0.7


def test_nhsic_of_normals_tends_to_the_rv_coefficient_of_their_covariances():
    scale = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)
    x = normals(0, 2000, 3) * scale
    y = torch.cat([0.6 * x[:, :1] + 0.8 * normals(1, 2000, 1), normals(2, 2000, 1)], 1)
    expected = 0.36 / (scale.pow(4).sum().sqrt() * math.sqrt(2))
    assert hsic.nhsic(x, y, unbiased=True).item() == pytest.approx(expected.item(), abs=0.01)


# --- property ---

both = pytest.mark.parametrize("unbiased", [False, True])


@both
@given(seed=seeds, scale=st.floats(1e-3, 1e3), sign=st.sampled_from([-1, 1]))
@settings(max_examples=40, deadline=None)
def test_theorem_1_scale_does_not_matter(unbiased, seed, scale, sign):
    x, y = normals(seed, 12, 3), normals(seed + 1, 12, 4)
    expected = hsic.nhsic(x, y, unbiased=unbiased)
    torch.testing.assert_close(hsic.nhsic(sign * scale * x, y, unbiased=unbiased), expected, rtol=1e-9, atol=1e-12)


@both
@given(seed=seeds)
@settings(max_examples=40, deadline=None)
def test_theorem_2_orthogonal_transformations_and_shifts_do_not_matter(unbiased, seed):
    x, y = normals(seed, 12, 5), normals(seed + 1, 12, 4)
    moved = x @ rotation(seed + 2, 5) + 10 * normals(seed + 3, 1, 5)
    expected = hsic.nhsic(x, y, unbiased=unbiased)
    torch.testing.assert_close(hsic.nhsic(moved, y, unbiased=unbiased), expected, rtol=1e-9, atol=1e-11)


@given(seed=seeds)
@settings(max_examples=40, deadline=None)
def test_nhsic_is_symmetric_bounded_and_blind_to_the_order_of_samples(seed):
    x, y = normals(seed, 12, 3), normals(seed + 1, 12, 4)
    order = torch.randperm(12, generator=generator(seed))
    value = hsic.nhsic(x, y)
    assert 0 <= value <= 1
    torch.testing.assert_close(hsic.nhsic(y, x), value)
    torch.testing.assert_close(hsic.nhsic(x[order], y[order]), value)


# --- what the pruning paper claims and does not hold ---


def test_counterexample_to_theorem_3_nhsic_ranks_two_pairs_against_their_mutual_information():
    """Theorem 3 says that minimising linear nHSIC and minimising information of Gaussians are the same.

    Only the minimum, zero, is shared. Independent coordinates (x_i, y_i) with correlations rho_i and
    variances s_i: I = -1/2 sum log(1 - rho_i^2) ignores the variances, nHSIC = sum (s_i rho_i)^2 / sum s_i^2
    follows them.
    """

    def information(rho):
        return -0.5 * torch.log(1 - rho**2).sum()

    def population_nhsic(rho, variance):
        return (variance * rho).square().sum() / variance.square().sum()

    variance = torch.tensor([100.0, 1.0])
    loud, quiet = torch.tensor([0.3, 0.0]), torch.tensor([0.0, 0.99])
    assert information(quiet) > 40 * information(loud)
    assert population_nhsic(quiet, variance) < population_nhsic(loud, variance) / 900
    # ... and on samples: the pair that shares more information gets the smaller nHSIC.
    x = normals(0, 2000, 2) * variance.sqrt()
    noise = normals(1, 2000, 2) * variance.sqrt()
    y_loud, y_quiet = (rho * x + (1 - rho**2).sqrt() * noise for rho in (loud, quiet))
    assert hsic.nhsic(x, y_quiet, unbiased=True) < 0.01 < 0.08 < hsic.nhsic(x, y_loud, unbiased=True)


def test_counterexample_to_batch_norm_invariance_only_a_common_scale_is_free():
    """After theorem 2 the paper says that batch normalisation leaves the importance exactly as it was.

    Batch normalisation scales every channel by a factor of its own, which is neither a scalar nor a rotation.
    """
    x, y = normals(0, 50, 3), normals(1, 50, 3)
    y[:, 0] = x[:, 0]
    per_channel = torch.tensor([5.0, 1.0, 0.2], dtype=torch.float64)
    assert (hsic.nhsic(x * per_channel, y) - hsic.nhsic(x, y)).abs() > 0.1


# --- sketches ---


def test_a_sketch_keeps_inner_products_on_average_within_its_stated_error():
    x, y = normals(0, 1, 3000).abs(), normals(1, 1, 3000)
    width = 64
    errors = torch.stack(
        [
            (hsic.sketch(x, width, seed=seed) * hsic.sketch(y, width, seed=seed)).sum() - (x * y).sum()
            for seed in range(400)
        ]
    )
    stated = ((x.norm() ** 2 * y.norm() ** 2 + (x * y).sum() ** 2) / width).sqrt()
    assert errors.mean().abs() < 3.5 * stated / math.sqrt(400)
    assert errors.std() < 1.1 * stated


def test_sketched_nhsic_falls_by_the_stated_shrinkage():
    x = normals(0, 40, 5) @ normals(1, 5, 2000) + 0.3 * normals(2, 40, 2000)
    y = x + 0.5 * normals(3, 40, 2000)
    width = 256
    gram_x, gram_y = hsic.linear_gram(x), hsic.linear_gram(y)
    stated = hsic.sketch_shrinkage(gram_x, width) * hsic.sketch_shrinkage(gram_y, width)
    ratios = [
        hsic.nhsic(hsic.sketch(x, width, seed=2 * s), hsic.sketch(y, width, seed=2 * s + 1)) / hsic.nhsic(x, y)
        for s in range(60)
    ]
    mean, error = mean_and_error(ratios)
    assert abs(mean - stated) < 3.5 * error + 0.005
    assert stated < 0.985


def test_a_narrow_map_is_not_sketched_and_a_seed_repeats_itself():
    x = normals(0, 4, 100)
    assert hsic.sketch(x, 100) is x
    torch.testing.assert_close(hsic.sketch(x, 10, seed=3), hsic.sketch(x, 10, seed=3))
    assert not torch.equal(hsic.sketch(x, 10, seed=3), hsic.sketch(x, 10, seed=4))


# --- streaming ---


def batches(seed, count=12, n=16):
    """Three layers: two that share half their variance and one of noise."""
    for batch in range(count):
        shared = normals(seed + 100 * batch, n, 4)
        layers = [
            shared,
            shared + normals(seed + 100 * batch + 1, n, 4),
            normals(seed + 100 * batch + 2, n, 4),
        ]
        yield torch.stack([hsic.linear_gram(x) for x in layers])


def streamed(grams):
    statistic = hsic.MinibatchHSIC.empty(layers=3)
    for batch in grams:
        statistic = statistic.update(batch)
    return statistic


@given(seed=st.integers(0, 1000), cut=st.integers(1, 11))
@settings(max_examples=20, deadline=None)
def test_merge_equals_the_whole(seed, cut):
    every = list(batches(seed))
    merged = streamed(every[:cut]).merge(streamed(every[cut:]))
    for ours, whole in zip(merged.compute(), streamed(every).compute(), strict=True):
        torch.testing.assert_close(ours, whole)


def test_merge_equals_the_whole_beyond_the_number_of_groups():
    every = list(batches(0, count=80, n=4))
    merged = streamed(every[:37]).merge(streamed(every[37:]))
    torch.testing.assert_close(merged.batches.sums, streamed(every).batches.sums)


def test_adding_the_fields_of_two_processes_gives_the_mean_of_all_their_batches():
    every = list(batches(0))
    one, two = streamed(every[:5]).batches, streamed(every[5:]).batches
    summed = moments.GroupedMean(one.sums + two.sums, one.weights + two.weights, one.batches + two.batches)
    torch.testing.assert_close(summed.mean(), streamed(every).batches.mean())


def test_stated_standard_errors_match_the_spread_over_repetitions():
    runs = [streamed(batches(10_000 * seed)).compute() for seed in range(150)]
    spread = torch.stack([run.value for run in runs]).std(0)
    stated = torch.stack([run.standard_error for run in runs]).square().mean(0).sqrt()
    off_diagonal = ~torch.eye(3, dtype=torch.bool)
    ratio = (stated / spread)[off_diagonal]
    assert ratio.min() > 0.8
    assert ratio.max() < 1.3


def test_streaming_finds_the_population_value_where_one_biased_batch_does_not():
    value, error = streamed(batches(0, count=200)).compute()
    population = math.sqrt(0.25)  # covariances I and 2 I that share I: 4 / (2 sqrt 16)
    assert abs(value[0, 1] - population) < 3.5 * error[0, 1]
    assert abs(value[0, 2]) < 3.5 * error[0, 2]
    biased = hsic.pairwise_nhsic(next(batches(0)))
    assert biased[0, 2] > 5 * error[0, 2]


def test_the_sum_over_layers_has_a_standard_error_of_its_own():
    total = streamed(batches(0)).of(lambda matrix: hsic.normalise(matrix).sum(-1) - 1)
    assert total.value.shape == total.standard_error.shape == (3,)
    assert (total.standard_error > 0).all()


def test_one_batch_gives_a_value_and_no_error():
    value, error = streamed(batches(0, count=1)).compute()
    assert value.isfinite().all()
    assert error.isnan().all()


def test_labels_are_one_more_layer():
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    one_hot = torch.nn.functional.one_hot(labels).double()
    torch.testing.assert_close(hsic.centre(hsic.label_gram(labels)), hsic.linear_gram(one_hot))


# --- bad input ---


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (torch.randn(1, 3), torch.randn(1, 3), "1 sample"),
        (torch.randn(5, 3), torch.randn(6, 3), "5 samples and y has 6"),
        (torch.full((5, 3), torch.nan), torch.randn(5, 3), "NaN"),
        (torch.randn(5, 3), torch.full((5, 3), 0.1), "y is the same for all 5 samples"),
        (torch.tensor(1.0), torch.randn(5, 3), "single number"),
    ],
)
def test_bad_samples_are_refused_in_one_sentence(x, y, message):
    with pytest.raises(ValueError, match=message):
        hsic.nhsic(x, y)


def test_samples_that_are_not_floating_point_are_refused():
    with pytest.raises(TypeError, match="floating point"):
        hsic.nhsic(torch.ones(4, 2, dtype=torch.int64), torch.randn(4, 2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: hsic.nhsic(torch.randn(3, 2), torch.randn(3, 2), unbiased=True), "at least 4"),
        (lambda: hsic.hsic(torch.eye(5), torch.eye(4)), "5 and 4 samples"),
        (lambda: hsic.hsic(torch.ones(5, 4), torch.eye(4)), "square"),
        (lambda: hsic.hsic(torch.eye(5) * torch.nan, torch.eye(5)), "NaN"),
        (lambda: hsic.gaussian_gram(torch.ones(4, 2)), "bandwidth"),
        (
            lambda: hsic.pairwise_nhsic(torch.stack([hsic.linear_gram(normals(0, 5, 2)), torch.zeros(5, 5)])),
            r"\[1\]",
        ),
        (lambda: hsic.sketch(torch.randn(4, 2), 0), "at least one"),
        (lambda: hsic.MinibatchHSIC.empty(2).compute(), "no batch"),
        (lambda: hsic.MinibatchHSIC.empty(2).update(torch.randn(3, 8, 8)), "shape"),
        (lambda: hsic.MinibatchHSIC.empty(2).merge(hsic.MinibatchHSIC.empty(3)), "merge like with like"),
        (lambda: hsic.MinibatchHSIC.empty(2, groups=1), "at least 2"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call()
