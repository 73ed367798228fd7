"""Energy statistics: against dcor, the paper's sums, closed forms, and their own promises."""

import doctest
import math

import dcor
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.estimators import reference_energy as reference

from infoprune.estimators import energy

seeds = st.integers(0, 2**31)


def generator(seed):
    return torch.Generator().manual_seed(seed)


def normals(seed, *shape):
    return torch.randn(*shape, dtype=torch.float64, generator=generator(seed))


def labelled(seed, n=40, d=3, classes=4):
    """Features whose mean moves with their label."""
    labels = torch.randint(classes, (n,), generator=generator(seed))
    labels[:classes] = torch.arange(classes)
    return normals(seed + 1, n, d) + labels.unsqueeze(-1), labels


def mean_and_error(values):
    values = torch.stack(list(values))
    return values.mean().item(), (values.std() / math.sqrt(len(values))).item()


def test_examples_in_docstrings_run():
    results = doctest.testmod(energy, extraglobs={"torch": torch})
    assert results.attempted > 0
    assert results.failed == 0


# --- reference ---


@pytest.mark.parametrize(("n", "m", "d"), [(1, 5, 1), (30, 20, 1), (30, 20, 3), (200, 150, 64), (100, 90, 300)])
@pytest.mark.parametrize("shift", [0.0, 1.0, 1000.0])
def test_energy_distance_equals_dcor(n, m, d, shift):
    x, y = normals(n, n, d), normals(m, m, d) + shift
    ours = energy.energy_distance(x, y).item()
    assert ours == pytest.approx(dcor.energy_distance(x.numpy(), y.numpy()), rel=1e-10)


def test_unbiased_energy_distance_equals_dcors_u_statistic():
    x, y = normals(0, 30, 3), normals(1, 20, 3) + 0.2
    ours = energy.energy_distance(x, y, unbiased=True).item()
    theirs = dcor.energy_distance(x.numpy(), y.numpy(), estimation_stat="u_statistic")
    assert ours == pytest.approx(theirs, rel=1e-10)


def test_energy_distance_is_equation_4():
    x, y = normals(0, 8, 3), normals(1, 6, 3)
    torch.testing.assert_close(energy.energy_distance(x, y), reference.energy_eq_4(x, y))


def test_dependence_is_definition_2():
    features, labels = labelled(0)
    torch.testing.assert_close(
        energy.energy_dependence(features, labels), reference.dependence_definition_2(features, labels)
    )


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("statistic", [energy.energy, energy.coefficient])
def test_all_pairs_at_once_equal_pair_by_pair(unbiased, statistic):
    features, labels = labelled(0)
    together = energy.pairwise_energy(features, labels, unbiased=unbiased, statistic=statistic)
    alone = [
        [
            energy.energy_distance(features[labels == i], features[labels == j], unbiased=unbiased, statistic=statistic)
            for j in range(4)
        ]
        for i in range(4)
    ]
    torch.testing.assert_close(together, torch.tensor(alone).double().fill_diagonal_(0))


def test_wide_distances_keep_their_digits_among_near_neighbours():
    x = 100 + normals(0, 50, 500)
    x[25:] = x[:25] + 1e-7 * normals(1, 25, 500)
    exact = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
    torch.testing.assert_close(energy.distances(x, x), exact, rtol=1e-11, atol=0)


def test_wide_single_precision_features_lose_no_more_than_their_roundings():
    labels = torch.arange(300) % 7
    exact = torch.randn(300, 40, dtype=torch.float64) + labels[:, None] + 1000
    exact[50:90] = exact[10:50]  # some points twice, in other classes
    rounded = exact.float()
    expected = energy.dependence_estimate(rounded.double(), labels)
    found = energy.dependence_estimate(rounded, labels)
    torch.testing.assert_close(found.value, expected.value, rtol=1e-5, atol=0)
    torch.testing.assert_close(found.standard_error, expected.standard_error, rtol=1e-4, atol=0)


def test_a_batch_axis_scores_many_units_in_one_call():
    _, labels = labelled(0)
    for width in (3, 100):
        units = normals(5, 6, 40, width) + labels.unsqueeze(-1)
        together, error = energy.dependence_estimate(units, labels)
        alone = [energy.dependence_estimate(unit, labels) for unit in units]
        torch.testing.assert_close(together, torch.stack([each.value for each in alone]))
        torch.testing.assert_close(error, torch.stack([each.standard_error for each in alone]))


# --- closed form ---


@pytest.mark.parametrize(("shift", "scale_x", "scale_y"), [(0, 1, 1), (1, 1, 1), (0, 1, 3), (2, 0.5, 2)])
def test_unbiased_energy_of_normals_meets_its_closed_form(shift, scale_x, scale_y):
    draws = [
        energy.energy_distance(
            scale_x * normals(2 * s, 30, 1), shift + scale_y * normals(2 * s + 1, 20, 1), unbiased=True
        )
        for s in range(300)
    ]
    mean, error = mean_and_error(draws)
    assert abs(mean - reference.energy_of_normals(shift, scale_x, scale_y)) < 3.5 * error


def test_the_v_statistic_is_too_large_by_the_distances_within():
    draws = [energy.energy_distance(normals(2 * s, 30, 1), normals(2 * s + 1, 20, 1)) for s in range(300)]
    mean, error = mean_and_error(draws)
    within = reference.mean_distance_of_normals(0, 2)
    assert abs(mean - within * (1 / 30 + 1 / 20)) < 3.5 * error


def test_the_v_statistic_favours_rare_classes_and_the_u_statistic_does_not():
    labels = torch.cat([torch.zeros(500), torch.ones(500), torch.full((3,), 2.0)]).long()
    features = normals(0, 1003, 4)
    features[labels == 1] += 0.5
    biased = energy.pairwise_energy(features, labels)
    unbiased = energy.pairwise_energy(features, labels, unbiased=True)
    assert biased[0, 2] > biased[0, 1]
    assert (biased - unbiased)[0, 2] > 50 * (biased - unbiased)[0, 1]


@pytest.mark.parametrize("statistic", [energy.energy, energy.coefficient])
@pytest.mark.parametrize("unbiased", [False, True])
def test_stated_standard_errors_match_the_spread_over_repetitions(statistic, unbiased):
    labels = torch.arange(60) % 2
    runs = [
        energy.dependence_estimate(
            normals(s, 60, 3) + labels.unsqueeze(-1), labels, unbiased=unbiased, statistic=statistic
        )
        for s in range(200)
    ]
    spread = torch.stack([run.value for run in runs]).std()
    stated = torch.stack([run.standard_error for run in runs]).square().mean().sqrt()
    assert 0.85 < stated / spread < 1.2


# --- property ---


@given(seed=seeds, scale=st.floats(-10, 10).filter(lambda c: abs(c) > 0.1), width=st.sampled_from([2, 80]))
@settings(max_examples=40, deadline=None)
def test_distance_is_symmetric_blind_to_shifts_and_scales_by_the_absolute_value(seed, scale, width):
    x, y = normals(seed, 12, width), normals(seed + 1, 9, width) + 1
    value = energy.energy_distance(x, y)
    torch.testing.assert_close(energy.energy_distance(y, x), value)
    torch.testing.assert_close(energy.energy_distance(scale * x + 5, scale * y + 5), abs(scale) * value)


@given(seed=seeds, width=st.sampled_from([1, 3, 80]))
@settings(max_examples=40, deadline=None)
def test_distance_is_never_negative_and_zero_for_the_same_points(seed, width):
    x, y = normals(seed, 10, width), normals(seed + 1, 7, width)
    assert energy.energy_distance(x, y) > 0
    again = x[torch.randperm(10, generator=generator(seed))]
    assert energy.energy_distance(x, again).abs() < 1e-14 * x.abs().max() * width
    assert 0 <= energy.energy_distance(x, y, statistic=energy.coefficient) <= 1


@given(seed=seeds)
@settings(max_examples=30, deadline=None)
def test_dependence_is_blind_to_the_names_of_classes_and_the_order_of_samples(seed):
    features, labels = labelled(seed % 10_000)
    value, error = energy.dependence_estimate(features, labels)
    names = torch.tensor([7, -3, 100, 4])[torch.randperm(4, generator=generator(seed))]
    order = torch.randperm(len(labels), generator=generator(seed))
    renamed, renamed_error = energy.dependence_estimate(features[order], names[labels[order]])
    torch.testing.assert_close(renamed, value)
    torch.testing.assert_close(renamed_error, error)
    assert 0 <= energy.energy_dependence(features, labels, statistic=energy.coefficient) <= 1


@pytest.mark.parametrize("scale", [1e30, 1e-25, 1e-44])
@pytest.mark.parametrize("width", [3, 30])
def test_single_precision_reaches_as_far_as_its_numbers(scale, width):
    x, labels = normals(0, 12, width).float() * scale, torch.arange(12) % 3
    batch = torch.stack([x, normals(1, 12, width).float()])
    expected = torch.stack([energy.energy_dependence(each.double(), labels) for each in batch])
    torch.testing.assert_close(energy.energy_dependence(batch, labels), expected, rtol=1e-5, atol=0)
    assert energy.dependence_estimate(x, labels).standard_error > 0
    apart = energy.energy_distance(batch[:, :5], batch[:, 5:])
    torch.testing.assert_close(
        apart.double(), energy.energy_distance(*batch.double().split((5, 7), 1)), rtol=1e-5, atol=1e-44
    )
    torch.testing.assert_close(
        energy.distances(batch, batch).double(), torch.cdist(batch.double(), batch.double()), rtol=1e-4, atol=1e-44
    )


def test_no_unit_has_no_energy():
    labels = torch.tensor([0, 1, 0, 1])
    for width in (3, 30):
        assert energy.dependence_estimate(torch.empty(0, 4, width), labels).value.shape == (0,)
        assert energy.pairwise_energy(torch.empty(0, 4, width), labels).shape == (0, 2, 2)


def test_the_coefficient_does_not_see_the_scale_of_the_features():
    features, labels = labelled(0)
    expected = energy.energy_dependence(features, labels, statistic=energy.coefficient)
    torch.testing.assert_close(energy.energy_dependence(-7 * features, labels, statistic=energy.coefficient), expected)


def test_classes_without_variation_have_coefficient_one_and_constant_features_none():
    labels = torch.tensor([0, 0, 1, 1])
    assert energy.energy_dependence(labels.double().unsqueeze(1), labels, statistic=energy.coefficient) == 1
    assert energy.energy_dependence(torch.ones(4, 2), labels, statistic=energy.coefficient) == 0
    assert energy.energy_dependence(torch.ones(4, 2), labels) == 0


def test_a_class_with_one_sample_counts_in_equation_4_and_not_in_the_u_statistic():
    features, labels = torch.tensor([[0.0], [0.1], [1.0], [1.1], [9.0]]), torch.tensor([0, 0, 1, 1, 2])
    assert energy.energy_dependence(features, labels) > 10
    assert energy.energy_dependence(features, labels, unbiased=True) < 2
    assert energy.pairwise_energy(features, labels, unbiased=True)[2].isnan().all()


def test_regression_targets_become_quantile_bins():
    targets = normals(0, 1000)
    labels = energy.quantile_labels(targets, 5)
    assert torch.bincount(labels).tolist() == [200] * 5
    assert (labels[targets.argsort()].diff() >= 0).all()
    assert energy.quantile_labels(torch.tensor([1.0, 1.0, 1.0, 2.0]), 2).tolist() == [1, 1, 1, 1]
    related = energy.energy_dependence(targets.unsqueeze(1), labels)
    assert related > 20 * energy.energy_dependence(normals(1, 1000, 1), labels)


# --- streaming ---


def stream(features, labels, seed=0, capacity=1000, batch=8):
    sample, keys = energy.FeatureSample.empty(capacity), generator(seed)
    for start in range(0, len(labels), batch):
        sample = sample.update(features[start : start + batch], labels[start : start + batch], keys)
    return sample


def test_streaming_equals_the_whole_up_to_capacity():
    features, labels = labelled(0, n=100)
    for ours, whole in zip(
        stream(features, labels).compute(), energy.dependence_estimate(features, labels), strict=True
    ):
        torch.testing.assert_close(ours, whole)


@given(seed=st.integers(0, 1000), cut=st.integers(1, 99), capacity=st.sampled_from([30, 1000]))
@settings(max_examples=30, deadline=None)
def test_merge_equals_the_whole_beyond_capacity_too(seed, cut, capacity):
    features, labels = labelled(seed, n=100)
    keys, parts = generator(seed), []
    for part in (slice(None, cut), slice(cut, None)):
        parts.append(energy.FeatureSample.empty(capacity).update(features[part], labels[part], keys))
    merged, whole = parts[0].merge(parts[1]), stream(features, labels, seed, capacity, batch=100)
    assert torch.equal(merged.features, whole.features)
    assert torch.equal(merged.labels, whole.labels)
    assert int(merged.seen) == 100


def test_every_sample_is_equally_likely_to_stay():
    features, labels = torch.arange(50.0).unsqueeze(1), torch.zeros(50, dtype=torch.int64)
    kept = torch.cat([stream(features, labels, seed, capacity=10).features for seed in range(1000)]).long()
    counts = torch.bincount(kept.flatten(), minlength=50)
    assert kept.numel() == 10_000
    assert (counts - 200).abs().max() < 4.5 * math.sqrt(200 * 0.8)


# --- bad input ---


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, y: energy.energy_distance(x, x[:, :2]), "3 features and y has 2"),
        (lambda x, y: energy.energy_distance(x, x * torch.nan), "y holds NaN"),
        (lambda x, y: energy.energy_distance(x, x[:0]), r"0 sample\(s\)"),
        (lambda x, y: energy.energy_distance(x, x[:1], unbiased=True), "at least 2"),
        (lambda x, y: energy.energy_dependence(x, y[:-1]), "shape"),
        (lambda x, y: energy.energy_dependence(x[:1], y[:1]), "at least 2"),
        (
            lambda x, y: energy.energy_dependence(x, torch.full_like(y, 3)),
            "label 3; dependence needs two classes",
        ),
        (lambda x, y: energy.energy_dependence(x * torch.inf, y), "NaN or infinite"),
        (lambda x, y: energy.energy_dependence(x[:2], torch.tensor([0, 1]), unbiased=True), "two samples"),
        (lambda x, y: energy.quantile_labels(x[:, 0], 1), "bins is 1"),
        (lambda x, y: energy.quantile_labels(x[:, 0] * torch.nan, 2), "NaN"),
        (lambda x, y: energy.FeatureSample.empty(1), "capacity is 1"),
        (lambda x, y: energy.FeatureSample.empty().compute(), "no batch"),
        (lambda x, y: stream(x, y).merge(stream(x, y, capacity=5)), "capacities"),
        (lambda x, y: stream(x, y).merge(stream(x[:, :2], y)), "3 and 2 numbers"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call(*labelled(0))


def test_real_labels_are_refused_with_the_way_out():
    features, labels = labelled(0)
    with pytest.raises(TypeError, match="quantile_labels"):
        energy.energy_dependence(features, labels.double())
    with pytest.raises(TypeError, match="real numbers"):
        energy.quantile_labels(labels, 2)
