"""Sums of distances against scipy, scikit-learn and brute force."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist as scipy_cdist
from sklearn.metrics import pairwise_distances

from infoprune.estimators import distances
from infoprune.estimators.distances import distance_sums

SCIPY = {"euclidean": "euclidean", "manhattan": "cityblock", "chebyshev": "chebyshev", "cosine": "cosine"}
every_distance = pytest.mark.parametrize("distance", SCIPY)


def brute(points, nearest=None, distance="euclidean"):
    matrix = scipy_cdist(points.double(), points.double(), SCIPY[distance])
    ordered = torch.from_numpy(matrix).fill_diagonal_(-1).sort(-1).values[:, 1:]
    return ordered[:, :nearest].sum(-1)


def random_points(seed, n, d):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


@every_distance
@pytest.mark.parametrize("nearest", [None, 1, 7, 500])
@pytest.mark.parametrize(("n", "d"), [(2, 3), (40, 1), (150, 9), (300, 40)])
def test_agrees_with_scipy(n, d, nearest, distance):
    points = random_points(n, n, d)
    sums = distance_sums(points, nearest=nearest, distance=distance).double()
    torch.testing.assert_close(sums, brute(points, nearest, distance), rtol=1e-5, atol=1e-5)


@every_distance
def test_agrees_with_scikit_learn(distance):
    points = random_points(0, 60, 5)
    expected = torch.from_numpy(pairwise_distances(points.double(), metric=distance)).sum(-1)
    torch.testing.assert_close(distance_sums(points, distance=distance).double(), expected, rtol=1e-5, atol=1e-5)


@given(st.integers(0, 10_000), st.sampled_from([1, 2, 9]), st.floats(0.01, 100), st.floats(-10, 10))
def test_sums_scale_and_ignore_shifts(seed, d, scale, shift):
    points = random_points(seed, 12, d)
    moved = distance_sums(scale * points + shift)
    torch.testing.assert_close(moved, scale * distance_sums(points), rtol=1e-3, atol=1e-4)


@every_distance
@given(seed=st.integers(0, 10_000), d=st.sampled_from([1, 9]))
def test_sums_follow_a_permutation(distance, seed, d):
    points = random_points(seed, 20, d)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(
        distance_sums(points[order], distance=distance), distance_sums(points, distance=distance)[order]
    )


@every_distance
@pytest.mark.parametrize("nearest", [None, 1])
@pytest.mark.parametrize("d", [1, 9, 300])
def test_equal_points_are_zero_apart_and_tie_exactly(d, nearest, distance):
    points = random_points(1, 200, d).repeat(2, 1)
    sums = distance_sums(points, nearest=nearest, distance=distance)
    assert torch.equal(sums[:200], sums[200:])
    if nearest:
        assert sums.abs().max() == 0


@every_distance
@pytest.mark.parametrize("value", [0.0, 0.1])
@pytest.mark.parametrize("d", [1, 9])
def test_points_that_are_all_equal_have_sums_of_zero(d, value, distance):
    assert distance_sums(torch.full((300, d), value), distance=distance).abs().max() == 0


@pytest.mark.parametrize("gap", [1e-6, 1e-3, 1.0])
def test_tight_clusters_far_apart_keep_their_digits(gap):
    centres = torch.tensor([[100.0], [-100.0]]).expand(2, 9)
    points = (centres[torch.arange(200) % 2] + gap * random_points(3, 200, 9)).contiguous()
    torch.testing.assert_close(distance_sums(points).double(), brute(points), rtol=1e-5, atol=0)


def test_few_digits_remain_in_a_single_cluster_and_are_kept():
    points = 1000 + random_points(3, 200, 9)
    torch.testing.assert_close(distance_sums(points).double(), brute(points), rtol=1e-6, atol=0)


def test_points_too_large_to_copy_are_taken_in_parts(monkeypatch):
    points = random_points(0, 90, 50)
    monkeypatch.setattr(distances, "COPY", 1000)
    torch.testing.assert_close(distance_sums(points).double(), brute(points), rtol=1e-5, atol=0)
    points[5] = points[80]
    sums = distance_sums(points)
    assert sums[5] == sums[80]


@pytest.mark.parametrize("copy", [1000, 30_000, 2**24])
def test_many_long_points_are_taken_in_strips_and_parts(monkeypatch, copy):
    points = random_points(0, 600, 70)
    points[5] = points[580]
    monkeypatch.setattr(distances, "COPY", copy)
    monkeypatch.setattr(distances, "WIDE", 250)
    sums = distance_sums(points)
    torch.testing.assert_close(sums.double(), brute(points), rtol=1e-6, atol=0)
    assert sums[5] == sums[580]


def test_zero_points_lie_one_from_the_others_in_angle():
    points = torch.tensor([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
    assert distance_sums(points, distance="cosine").tolist() == [2.0, 2.0, 3.0, 3.0]
    assert distance_sums(points, nearest=1, distance="cosine").tolist() == [0.0, 0.0, 1.0, 1.0]


@every_distance
def test_a_single_point_has_no_others(distance):
    assert distance_sums(torch.ones(2, 1, 9), distance=distance).tolist() == [[0.0], [0.0]]


def test_integers_and_halves_are_summed_in_single():
    assert distance_sums(torch.tensor([[0], [3]])).tolist() == [3.0, 3.0]
    assert distance_sums(torch.tensor([[0.0], [3.0]]).half()).dtype == torch.float32
