"""Optimal one-dimensional k-means: against every partition, another package, and its own promises."""

import doctest
import random

import kmeans1d
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.estimators import reference_kmeans as reference

from infoprune.estimators import kmeans

numbers = st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=30)


def cost(values, labels):
    return kmeans.within_cluster_sums(values, labels).sum().item()


def normals(seed, n):
    return torch.randn(n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_examples_in_docstrings_run():
    results = doctest.testmod(kmeans, extraglobs={"torch": torch})
    assert results.attempted > 0
    assert results.failed == 0


def random_case(seed):
    """Up to 14 values, half of the time from few levels so that there are ties."""
    draw = random.Random(seed)
    n = draw.randint(1, 14)
    levels = draw.choice([None, 3, 6])
    values = [draw.gauss(0, 1) if levels is None else float(draw.randrange(levels)) for _ in range(n)]
    return values, draw.randint(1, n)


@pytest.mark.parametrize("cases", [250, pytest.param(5000, marks=pytest.mark.slow)])
def test_cost_equals_brute_force_over_all_cuts(cases):
    for seed in range(cases):
        values, k = random_case(seed)
        best = reference.best_cost(values, k)
        labels, _ = kmeans.kmeans_1d(torch.tensor(values, dtype=torch.float64), k)
        assert labels.unique().tolist() == list(range(k))
        assert cost(torch.tensor(values), labels) == pytest.approx(best, abs=1e-6)
        costs = kmeans.kmeans_1d_costs(torch.tensor(values, dtype=torch.float64), k)
        assert costs[-1].item() == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize("seed", range(10))
def test_no_partition_that_is_not_an_interval_is_better(seed):
    values = normals(seed, 6).tolist()
    for k in (2, 3):
        assert reference.best_cost(values, k) == pytest.approx(reference.best_cost_of_any_partition(values, k))


@pytest.mark.parametrize(("n", "k"), [(60, 7), (500, 12), (5000, 9), (20_000, 5)])
def test_cost_equals_kmeans1d_beyond(n, k):
    values = normals(n, n).exp()
    labels, centres = kmeans.kmeans_1d(values, k)
    theirs = kmeans1d.cluster(values.tolist(), k)
    assert cost(values, labels) == pytest.approx(cost(values, torch.tensor(theirs.clusters)), rel=1e-10)
    np.testing.assert_allclose(centres, theirs.centroids, rtol=1e-9)


@given(values=numbers, data=st.data())
@settings(max_examples=100, deadline=None)
def test_clusters_are_ordered_intervals_with_their_means_as_centres(values, data):
    values = torch.tensor(values, dtype=torch.float64)
    k = data.draw(st.integers(1, len(values)))
    labels, centres = kmeans.kmeans_1d(values, k)
    assert (labels[values.argsort(stable=True)].diff() >= 0).all()
    assert (centres.diff() >= 0).all()
    means = torch.stack([values[labels == c].mean() for c in range(k)])
    torch.testing.assert_close(centres, means)


@given(values=numbers, shift=st.floats(-100, 100), scale=st.floats(0.1, 10))
@settings(max_examples=60, deadline=None)
def test_costs_shrink_with_k_shift_and_scale(values, shift, scale):
    values = torch.tensor(values, dtype=torch.float64)
    costs = kmeans.kmeans_1d_costs(values)
    assert (costs.diff() <= 1e-9 * (1 + costs[0])).all()
    moved = kmeans.kmeans_1d_costs(scale * values + shift)
    # sums of squares are differences of prefix sums, so they are as exact as the largest of them
    torch.testing.assert_close(moved, scale**2 * costs, rtol=1e-9, atol=1e-7 + 1e-13 * float(moved[0]))


def test_more_clusters_than_different_values_cost_nothing():
    labels, centres = kmeans.kmeans_1d(torch.tensor([2.0, 2.0, 2.0, 5.0]), 4)
    assert sorted(labels.tolist()) == [0, 1, 2, 3]
    assert centres.tolist() == [2.0, 2.0, 2.0, 5.0]


def test_values_far_from_zero_keep_their_clusters():
    values = 1e8 + torch.tensor([0.0, 0.1, 5.0, 5.1, 9.0], dtype=torch.float64)
    assert kmeans.kmeans_1d(values, 3)[0].tolist() == [0, 0, 1, 1, 2]


def test_the_elbow_finds_well_separated_clusters():
    centres = torch.tensor([0.0, 10.0, 30.0, 60.0], dtype=torch.float64)
    values = centres.repeat_interleave(10) + 0.5 * normals(0, 40)
    assert kmeans.k_by_elbow(values) in (3, 4)
    assert kmeans.k_by_elbow(torch.ones(5)) == 1


def test_indistinguishable_values_belong_together_and_a_chain_is_cut():
    chain = torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
    labels = kmeans.indistinguishable(chain, torch.full((6,), 0.6), z=1.0)
    assert labels.tolist() == [0, 0, 1, 1, 2, 2]


@given(values=numbers, z=st.floats(0.5, 3), error=st.floats(0, 50))
@settings(max_examples=60, deadline=None)
def test_every_two_values_of_a_group_overlap(values, z, error):
    values = torch.tensor(values, dtype=torch.float64)
    errors = torch.full_like(values, error)
    labels = kmeans.indistinguishable(values, errors, z=z)
    for group in labels.unique():
        members = values[labels == group]
        assert members.max() - members.min() <= 2 * z * error * (1 + 1e-9) + 1e-9
    assert kmeans.k_by_overlap(values, errors, z=z) == labels.unique().numel()


def test_without_noise_every_different_value_is_a_group_and_with_much_noise_there_is_one():
    values = torch.tensor([1.0, 2.0, 2.0, 3.0])
    assert kmeans.k_by_overlap(values, torch.zeros(4)) == 3
    assert kmeans.k_by_overlap(values, torch.full((4,), 10.0)) == 1


@pytest.mark.parametrize(
    ("values", "k", "message"),
    [
        ([1.0, 2.0], 0, "k is 0"),
        ([1.0, 2.0], 3, "k is 3; it must lie between 1 and the number of values, 2"),
        ([1.0, float("nan")], 1, "NaN"),
        ([1.0, float("inf")], 1, "infinite"),
        ([], 1, "at least one"),
        ([[1.0]], 1, "one dimension"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(values, k, message):
    with pytest.raises(ValueError, match=message):
        kmeans.kmeans_1d(torch.tensor(values), k)


def test_a_count_that_is_no_integer_is_refused():
    with pytest.raises(TypeError, match="integer"):
        kmeans.kmeans_1d(torch.ones(3), 1.5)


@pytest.mark.parametrize(
    ("errors", "z", "message"),
    [([0.1], 1.0, "each value"), ([0.1, -1.0], 1.0, ">= 0"), ([0.1, 0.1], 0.0, "z > 0")],
)
def test_bad_errors_are_refused(errors, z, message):
    with pytest.raises(ValueError, match=message):
        kmeans.indistinguishable(torch.tensor([1.0, 2.0]), torch.tensor(errors), z=z)
