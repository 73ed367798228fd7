"""Timings are taken in turn, ratios are of medians, and exponents are those of the curve they were drawn from."""

import time

import numpy as np
import pytest
from interleave import Ratio, exponent, interleaved, ratio
from scipy.stats import linregress


def busy(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_jobs_take_turns_and_turn_round():
    seen = []
    found = interleaved({"a": lambda: seen.append("a"), "b": lambda: seen.append("b")}, rounds=2, warm=1)
    assert "".join(seen) == "baabba"
    assert {name: len(times) for name, times in found.items()} == {"a": 2, "b": 2}


def test_a_job_twice_as_long_has_ratio_two():
    found = interleaved({"slow": lambda: busy(0.02), "fast": lambda: busy(0.01)}, rounds=5)
    measured = ratio(found["slow"], found["fast"])
    assert measured.value == pytest.approx(2, rel=0.1)
    assert measured.low <= measured.value <= measured.high


def test_one_round_has_no_interval():
    assert f"{ratio([6.0], [2.0]):.1f}" == "3.0"
    assert f"{Ratio(3.0, 2.5, 3.5):.1f}" == "3.0 (2.5 to 3.5)"


def test_exponents_are_slopes_in_logarithms():
    sizes = np.array([10, 20, 40, 80])
    assert exponent(sizes, 3 * sizes**1.5) == pytest.approx(1.5)
    noisy = sizes**2 * np.array([1.1, 0.9, 1.05, 0.97])
    assert exponent(sizes, noisy) == pytest.approx(linregress(np.log(sizes), np.log(noisy)).slope)
