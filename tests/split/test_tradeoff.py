"""Distortions, winner maps and rate differences against brute force and closed forms."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.metrics import jaccard_score
from tests.split.split_nets import Skip

import infoprune as ip
from infoprune.errors import UnusableData
from infoprune.split.tradeoff import positive_share

gains = st.lists(st.floats(-1, 1).filter(lambda g: abs(g) > 1e-3), min_size=3, max_size=3)


@given(gains)
def test_the_share_of_the_triangle_is_what_a_fine_grid_counts(gains):
    grid = ip.split.winner_map(dict.fromkeys("abc", 0.0), dict(zip("abc", gains, strict=True)), steps=60)
    counted = (grid.margin > 0).double().mean().item()
    assert abs(grid.share - counted) < 0.05
    assert math.isclose(positive_share([-g for g in gains]), 1 - grid.share, abs_tol=1e-12)


@given(st.floats(0.25, 4), st.integers(0, 2**31))
def test_a_constant_factor_of_rate_is_found_exactly(factor, seed):
    random = np.random.default_rng(seed)
    scores, rates = np.sort(random.uniform(20, 40, 5)), np.sort(random.uniform(100, 1000, 5))
    assume(np.diff(scores).min() > 1e-3 and np.diff(rates).min() > 1e-3)
    reference = list(zip(rates, scores, strict=True))
    tested = [(factor * rate, score) for rate, score in reference]
    assert math.isclose(ip.split.rate_difference(reference, tested), 100 * (factor - 1), abs_tol=1e-6)
    errors = [[(rate, -score) for rate, score in points] for points in (reference, tested)]
    assert math.isclose(ip.split.rate_difference(*errors, better="lower"), 100 * (factor - 1), abs_tol=1e-6)


def test_curves_that_share_no_score_have_no_rate_difference():
    assert math.isnan(ip.split.rate_difference([(1, 1), (2, 2)], [(1, 3), (2, 4)]))
    assert math.isnan(ip.split.rate_difference([(1, 1), (2, 1)], [(1, 1), (2, 2)]))


def test_distortions_follow_the_equations():
    assert math.isclose(ip.split.task_distortion(20.0, 25.0), 0.25)
    assert math.isclose(ip.split.total_distortion({"a": 0.5, "b": 0.1}, {"a": 0.2, "b": 0.8}), 0.18)
    with pytest.raises(ValueError, match="add up to 1"):
        ip.split.total_distortion({"a": 0.5, "b": 0.1}, {"a": 0.2, "b": 0.2})
    with pytest.raises(ValueError, match="three tasks"):
        ip.split.winner_map({"a": 1.0}, {"a": 2.0})


def test_scores_are_those_of_others():
    logits, labels = torch.randn(3, 4, 8, 8), torch.randint(4, (3, 8, 8))
    metric = ip.split.MeanIoU(classes=4)
    expected = jaccard_score(labels.flatten(), logits.argmax(1).flatten(), average="macro")
    assert math.isclose(float(metric.score(metric.statistics(logits, labels).sum(0))), expected, abs_tol=1e-12)
    output, target = torch.rand(3, 1, 8, 8), torch.rand(3, 1, 8, 8) + 0.1
    for metric, expected in (
        (ip.split.RMSE(), (output - target).square().mean().sqrt()),
        (ip.split.PSNR(), -10 * (output - target).square().mean((1, 2, 3)).log10().mean()),
    ):
        total = metric.statistics(output, target).sum(0)
        torch.testing.assert_close(metric.score(total).float(), expected)


def test_pixels_without_a_label_don_t_count():
    metric = ip.split.MeanIoU(classes=2)
    logits = torch.tensor([[[[1.0, 0.0, 1.0]], [[0.0, 1.0, 0.0]]]])
    statistics = metric.statistics(logits, torch.tensor([[[0, 1, 255]]]))
    assert metric.score(statistics.sum(0)) == 1
    assert statistics.sum() == 2


def test_pictures_without_anything_to_score_are_said_to_be():
    metric, target = ip.split.RMSE(), torch.zeros(3, 1, 4, 4)
    nothing = ip.split.Evaluation({"depth": metric.statistics(torch.rand(3, 1, 4, 4), target)}, torch.ones(3))
    with pytest.raises(UnusableData, match=r"depth.*RMSE, px.*none of the 3 images"):
        nothing.score("depth", metric)
    with pytest.raises(UnusableData, match="depth"):
        nothing.interval("depth", metric)
    target[0] = 1
    some = ip.split.Evaluation({"depth": metric.statistics(torch.zeros(3, 1, 4, 4), target)}, torch.ones(3))
    assert some.score("depth", metric) == 1
    assert some.interval("depth", metric) == (1, 1)  # of the draws that hold the first picture


def test_an_empty_batch_adds_nothing():
    model = Skip().eval()
    split = ip.split.SplitModel(model, at="join", heads=["disparity"])
    features, targets = split.edge(torch.rand(3, 3, 16, 24)), {"disparity": torch.rand(3, 1, 16, 24)}
    selection = ip.split.hard_selection(torch.arange(8), 0.5)
    whole = ip.split.evaluate(split, [features], [targets], METRICS, selection)
    none = {task: target[:0] for task, target in targets.items()}
    for sent in (selection, None):
        found = ip.split.evaluate(split, [features[:0], features], [none, targets], METRICS, sent)
        assert len(found.bytes_per_image) == 3
    assert torch.equal(
        ip.split.evaluate(split, [features, features[:0]], [targets, none], METRICS, selection).statistics["disparity"],
        whole.statistics["disparity"],
    )
    with pytest.raises(UnusableData, match="no features"):
        ip.split.evaluate(split, [features[:0]], [none], METRICS)


METRICS = {"disparity": ip.split.RMSE()}


def evaluated(order, shares):
    model = Skip().eval()
    split = ip.split.SplitModel(model, at="join", heads=["disparity"])
    features = [split.edge(torch.rand(3, 3, 16, 24))]
    targets = [{"disparity": torch.rand(3, 1, 16, 24)}]
    return ip.split.accuracy_against_share(split, features, targets, METRICS, order, shares)


def test_fewer_features_take_fewer_bytes():
    points = evaluated(torch.randperm(8), (1.0, 0.5, 0.25))
    assert [point.share for point in points] == [1.0, 0.5, 0.25]
    assert points[0].bytes_per_image > points[1].bytes_per_image > points[2].bytes_per_image


def test_resampling_is_paired_and_covers_the_score():
    evaluation = ip.split.Evaluation({"disparity": torch.rand(200, 2).double() + 1}, torch.ones(200))
    low, high = evaluation.interval("disparity", METRICS["disparity"])
    assert low < evaluation.score("disparity", METRICS["disparity"]) < high
    first, second = (evaluation.resampled("disparity", METRICS["disparity"], seed=3) for _ in range(2))
    assert torch.equal(first, second)
