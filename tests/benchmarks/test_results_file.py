"""Rows are kept as they come, runs go on where they stopped, and intervals are those of scipy."""

import argparse
import json
import sys

import numpy as np
import pytest
from results_file import Difference, ResultsFile, arguments, interval, paired, read, tail_of
from scipy.stats import bootstrap, t


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/somewhere/benchmarks/criteria.py", "--out", "x.jsonl", "--nets", "a b"])
    return ResultsFile(tmp_path / "new" / "criteria.jsonl", key=("net", "seed"))


def test_rows_say_their_command_environment_and_cpu_seconds(results):
    results.append({"net": "a", "seed": 0, "accuracy": 0.5})
    [row] = read(results.path)
    assert row["command"] == "python benchmarks/criteria.py --nets 'a b'"
    assert {"torch", "timm", "threads", "cpu"} <= row["environment"].keys()
    assert row["cpu_s"] > 0


def test_cpu_seconds_of_rows_add_up_to_those_of_the_process(results):
    from results_file import cpu_seconds

    for seed in range(3):
        results.append({"net": "a", "seed": seed})
    assert sum(row["cpu_s"] for row in read(results.path)) == pytest.approx(cpu_seconds(), abs=0.1)


def test_the_newest_row_of_a_key_counts_and_a_cut_line_is_no_row(results):
    results.append({"net": "a", "seed": 0, "accuracy": 0.5})
    results.append({"net": "a", "seed": 1, "accuracy": 0.6})
    results.append({"net": "a", "seed": 0, "accuracy": 0.7})
    with results.path.open("a") as file:
        file.write(json.dumps({"net": "b", "seed": 0})[:-3])
    assert [row["accuracy"] for row in results.rows()] == [0.7, 0.6]
    assert results.has(net="a", seed=1)
    assert not results.has(net="b", seed=0)
    results.append({"net": "b", "seed": 0})
    assert [row["net"] for row in results.rows()] == ["a", "a", "b"]


def test_a_row_without_its_key_is_refused(results):
    with pytest.raises(ValueError, match="lacks \\['seed'\\]"):
        results.append({"net": "a"})
    assert not results.path.exists()


def test_smoke_runs_write_elsewhere():
    options = arguments("What it does.").parse_args(["--smoke"])
    assert "smoke-" in str(ResultsFile.of(options, "criteria", ("net",)).path)
    assert isinstance(options, argparse.Namespace)


@pytest.mark.parametrize("n", [5, 12, 40])
def test_intervals_are_those_of_scipy(n):
    values = np.random.default_rng(n).gamma(2.0, size=n)
    level = 1 - 2 * tail_of(n)
    theirs = bootstrap(
        (values,),
        np.mean,
        method="percentile",
        confidence_level=level,
        n_resamples=20_000,
        rng=np.random.default_rng(1),
    )
    width = theirs.confidence_interval.high - theirs.confidence_interval.low
    assert interval(values) == pytest.approx(tuple(theirs.confidence_interval), abs=0.06 * width)  # both are drawn


def test_fewer_values_than_five_have_students_interval():
    values = np.array([1.0, 2.0, 4.0])
    theirs = t.interval(0.95, 2, values.mean(), values.std(ddof=1) / 3**0.5)
    assert interval(values) == pytest.approx(theirs)


@pytest.mark.parametrize(("n", "least"), [(5, 0.90), (20, 0.93)])
def test_intervals_cover_the_mean_of_normals(n, least):
    drawn = np.random.default_rng(0).normal(size=(200, n))
    covered = np.mean([low <= 0 <= high for low, high in map(interval, drawn)])
    assert covered >= least - 0.03  # 200 draws: a standard error of 0.02


def test_pairs_are_taken_by_seed_and_lower_may_be_better():
    ours, theirs = {0: 1.0, 1: 2.0, 2: 9.0}, {2: 10.0, 0: 2.0, 1: 3.0}
    assert paired(ours, theirs) == Difference(-1.0, -1.0, -1.0, 3)
    assert paired(ours, theirs).verdict == "worse"
    assert paired(ours, theirs, better="lower").verdict == "better"
    with pytest.raises(ValueError, match="only 1 keys"):
        paired({0: 1.0, 1: 1.0}, {0: 1.0})


def test_better_is_said_only_where_the_interval_says_so():
    noisy = paired(dict(enumerate((1.0, -0.9, 1.1, -0.8, 0.9))), dict.fromkeys(range(5), 0.0))
    assert noisy.mean > 0
    assert noisy.verdict == "no difference shown"
    assert f"{noisy:.1f}".startswith("+0.3 (-")
    clear = paired(dict(enumerate((1.0, 1.5, 2.0, 2.0, 1.0))), dict.fromkeys(range(5), 0.0))
    assert clear.verdict == "better"
    assert f"{clear:.1f}" == "**+1.5** (+1.0 to +2.0)"
