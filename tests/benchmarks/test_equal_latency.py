"""The share at which a network takes as long as another is found, whatever share that is."""

import time

import equal_latency
import pytest
import torch
from equal_latency import as_fast, timed, widest_as_fast
from torch import nn

from infoprune.errors import Infeasible


@pytest.fixture(autouse=True)
def _short_readings(monkeypatch):
    monkeypatch.setattr(equal_latency, "LEAST_MS", 2.0)


class Busy(nn.Module):
    """Takes so many milliseconds of CPU time."""

    def __init__(self, ms):
        super().__init__()
        self.ms = ms

    def forward(self, x):
        end = time.process_time() + self.ms / 1e3
        while time.process_time() < end:
            pass
        return x


def test_the_share_found_takes_as_long_as_the_other():
    found = as_fast(lambda share: Busy(4 * share), Busy(1.5), torch.zeros(1), shares=(0.0, 1.0))
    assert found.share == pytest.approx(0.375, abs=1 / 32)  # five halvings of what lies between
    assert found.network.ms == 4 * found.share
    assert found.times.value == pytest.approx(1, abs=0.1)


def test_shares_that_cannot_be_reached_are_passed_over():
    def at(share):
        if share <= 0.5:
            raise Infeasible("less than half is not to be had")
        return Busy(4 * share)

    assert as_fast(at, Busy(1.0), torch.zeros(1), shares=(0.0, 1.0)).share == pytest.approx(0.53, abs=0.02)
    with pytest.raises(Infeasible, match="less than half"):
        as_fast(at, Busy(1.0), torch.zeros(1), shares=(0.0, 0.2))


def test_the_multiple_that_keeps_most_at_the_same_time_is_taken():
    def at(share, multiple):
        if multiple == 8:
            raise Infeasible("so few are not to be had in eights")
        return Busy(4 * share / multiple)

    share, multiple = widest_as_fast(at, Busy(0.8), torch.zeros(1), shares=(0.0, 1.0))
    assert (share, multiple) == (pytest.approx(0.8, abs=1 / 32), 4)


def test_short_passes_are_repeated_until_a_reading_lasts():
    ms = timed({"slow": Busy(0.4), "fast": Busy(0.2)}, torch.zeros(1), rounds=3)
    assert min(ms["slow"]) >= 0.8  # two passes at least
    assert min(ms["fast"]) >= 0.4
