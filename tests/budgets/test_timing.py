import numpy as np
import pytest
import torch
from torch import nn

import infoprune as ip
from infoprune.timing import compare_times, median_interval


class Clock:
    """A clock that stands still unless a model moves it."""

    def __init__(self):
        self.now, self.noise = 0.0, np.random.default_rng(0)

    def perf_counter(self):
        return self.now

    def pass_about(self, seconds):
        self.now += seconds * np.exp(self.noise.normal(0, 0.05))


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("infoprune.timing.time", clock)
    return clock


class Timed(nn.Module):
    """Takes as long as it is told, however many parameters it has."""

    def __init__(self, clock, seconds, parameters=4):
        super().__init__()
        self.clock, self.seconds, self.weight = clock, seconds, nn.Parameter(torch.zeros(parameters))

    def forward(self, x):
        self.clock.pass_about(self.seconds)
        return x


def compared(dense, pruned, **options):
    return ip.compare_latency(dense, pruned, torch.zeros(1), seconds=0, **options)


def readings(dense, pruned, *, noise=0.1, rounds=61, seed=0):
    """Log-normal noise of the machine, shared within a round and apart from it."""
    generator = np.random.default_rng(seed)
    shared = np.exp(generator.normal(0, 0.5, (rounds, 1)))
    return np.array([dense, pruned]) * shared * np.exp(generator.normal(0, noise, (rounds, 2)))


def test_half_the_time_is_faster(clock):
    found = compared(Timed(clock, 0.004), Timed(clock, 0.002), keep=0.75)
    assert found.difference == "faster"
    assert found.verdict == "met"
    assert found.ratio == pytest.approx(0.5, abs=0.02)
    assert found.rounds == 31
    assert found.threads == torch.get_num_threads()


def test_fewer_parameters_that_take_as_long_are_not_faster(clock):
    found = compared(Timed(clock, 0.003, parameters=64), Timed(clock, 0.003, parameters=57))
    assert found.difference != "faster"
    assert found.verdict != "met"
    assert "faster" not in str(found)


def test_a_slower_model_breaks_its_promise(clock):
    found = compared(Timed(clock, 0.002), Timed(clock, 0.003), keep=1.0)
    assert (found.difference, found.verdict) == ("slower", "not met")


def test_the_same_model_shows_no_difference_in_95_of_100_runs(monkeypatch):
    monkeypatch.setattr("infoprune.timing.LEAST_MS", 0.3)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64)).eval()
    x = torch.randn(16, 64)
    found = [ip.compare_latency(model, model, x, seconds=0, seed=i).difference for i in range(100)]
    assert found.count("no difference") >= 95


@pytest.mark.parametrize(
    ("times", "promise", "verdict"),
    [
        ((10, 5), {"keep": 0.6}, "met"),
        ((10, 5), {"keep": 0.4}, "not met"),
        ((10, 5), {"keep": 0.5}, "cannot tell"),
        ((10, 5), {"at_most_ms": 9.0}, "met"),
        ((10, 5), {"at_most_ms": 3.0}, "not met"),
        ((10, 5), {"at_most_ms": 5.0}, "cannot tell"),
    ],
)
def test_the_verdict_follows_from_the_interval(times, promise, verdict):
    assert compare_times(readings(*times), **promise).verdict == verdict


def test_drifts_of_the_machine_cancel_in_the_ratio():
    low, high = compare_times(readings(10, 5, noise=0.01)).ratio_interval
    assert 0.49 < low < 0.5 < high < 0.51


def test_the_interval_covers_the_median_as_often_as_it_says():
    generator = np.random.default_rng(0)
    found = [median_interval(generator.exponential(size=31)) for _ in range(300)]
    covered = sum(low <= np.log(2) <= high for low, high in found)
    assert covered >= 0.97 * 300


def test_the_verdict_and_its_circumstances_are_told():
    told = str(compare_times(readings(10, 5), keep=0.6))
    assert "keep 0.6: met" in told
    assert "61 rounds" in told
    assert "threads" in told


def test_modes_are_restored(clock):
    dense, pruned = Timed(clock, 0.01).train(), Timed(clock, 0.01).train()
    compared(dense, pruned)
    assert dense.training
    assert pruned.training


def test_two_promises_at_once_are_refused(clock):
    with pytest.raises(ValueError, match="not both"):
        compared(Timed(clock, 0.01), Timed(clock, 0.01), keep=0.5, at_most="1ms")
