"""A report survives JSON and says what is wrong with anything else."""

import json

import pytest
from scipy.stats import binomtest
from tests.report.report_example import EXAMPLE

from infoprune.errors import BadArtifact
from infoprune.report.model import Interval, Report


def test_json_gives_the_same_report_back():
    assert Report.from_json(EXAMPLE.to_json()) == EXAMPLE


@pytest.mark.parametrize(("hits", "n"), [(0, 5), (3, 7), (450, 500), (500, 500)])
def test_intervals_of_shares_are_wilson_s(hits, n):
    ours, theirs = Interval.of_share(hits, n), binomtest(hits, n).proportion_ci(0.95, "wilson")
    assert ours.value == hits / n
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=2e-5)  # 1.96 for 1.959964


def test_paired_differences_are_narrower_than_unpaired_ones():
    first = [i % 10 != 0 for i in range(500)]
    second = [hit and i % 50 != 1 for i, hit in enumerate(first)]
    gain = Interval.of_paired(first, second)
    assert gain.value == pytest.approx(0.02)
    assert gain.low > 0


BROKEN = [
    ("no JSON", lambda d: "{", "is not JSON"),
    ("other schema", lambda d: {**d, "schema": 9}, "schema 1"),
    ("list", lambda d: [], "schema 1"),
    ("unknown", lambda d: {**d, "colour": 1}, "report.colour is not known"),
    ("missing", lambda d: {k: v for k, v in d.items() if k != "before"}, "lacks 'before'"),
    ("text for a number", lambda d: {**d, "seconds": "long"}, "report.seconds is 'long'"),
    ("truth for a number", lambda d: {**d, "seconds": True}, "report.seconds is True"),
    ("deep", lambda d: {**d, "sites": [{**d["sites"][0], "size": 1.5}]}, r"report.sites\[0\].size is 1.5"),
    ("verdict", lambda d: {**d, "budgets": {"macs": "nearly"}}, "report.budgets.macs is 'nearly'"),
]


@pytest.mark.parametrize(("change", "message"), [b[1:] for b in BROKEN], ids=[b[0] for b in BROKEN])
def test_anything_else_is_refused_by_field(change, message):
    changed = change(json.loads(EXAMPLE.to_json()))
    text = changed if isinstance(changed, str) else json.dumps(changed)
    with pytest.raises(BadArtifact, match=message):
        Report.from_json(text)


def test_a_directory_without_a_report_is_told(tmp_path):
    with pytest.raises(BadArtifact, match="finished run"):
        Report.of_run(tmp_path)
