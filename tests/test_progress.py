"""Long steps say on stderr what they do, how far they are and how long they will still take."""

import re
import time

import pytest

from infoprune import progress
from infoprune.progress import Lines, counting
from infoprune.recipe import OnStderr, run
from tests.recipe.test_running import recipe


def test_a_line_tells_what_is_done_how_far_how_fast_and_how_long_it_will_take():
    lines = Lines(100, "observe", "sample", done=25)
    assert lines.at(10.0) == "observe: 25 of 100 samples, 2.5 samples/s, 30 s left"
    assert Lines(None, "observe", "sample", done=25).at(10.0) == "observe: 25 samples, 2.5 samples/s"
    assert "12,000 samples/s" in Lines(None, "observe", "sample", done=24_000).at(2.0)
    assert Lines(20, "observe", "sample", done=25).at(10.0).endswith(" 0 s left")  # fewer were announced


def test_lines_come_every_ten_seconds_and_not_for_what_is_done_sooner(capsys, monkeypatch):
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    with counting(30, "work", "piece") as done:
        for _ in range(30):
            now += 1.0
            done(1)
    told = capsys.readouterr().err.splitlines()
    assert [line.partition(",")[0] for line in told] == [f"work: {n} of 30 pieces" for n in (10, 20, 30)]


def test_nothing_is_said_unless_it_is_to_be_shown(capsys, monkeypatch):
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.0)
    with counting(1, "work", "piece", shown=False) as done:
        done(1)
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar_once_it_takes_long(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    for quick in (60.0, 0.0):
        monkeypatch.setattr(progress, "QUICK_SECONDS", quick)
        with counting(2, "work", "piece") as done:
            time.sleep(0.2)
            done(1)
        assert ("work:  50%" in capsys.readouterr().err) == (quick == 0.0)


SECTIONS = {
    "curves": {"layer_importance": {"name": "curves"}, "compensate": {"samples": 32}},
    "observed": {"depth": {"keep_units": 7, "samples": 32}, "compensate": False},
}
STEPS = {
    "curves": [
        "information curves: .* of 28 trials",
        "read pictures: .* samples",
        "refit: .* readers",
        "compare outputs: .* samples",
    ],
    "observed": ["observe: .* of 32 samples", "energies of blocks: .* of 32 samples"],
}


@pytest.mark.parametrize("what", SECTIONS)
def test_all_that_takes_long_in_a_run_says_how_far_it_is(tmp_path, capsys, monkeypatch, what):
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.0)
    tuning = {"epochs": 0, "reestimate": 0}
    made = recipe(
        tmp_path, **{"model": {"name": "resnet20_cifar"}, "depth": None, "finetune": tuning, **SECTIONS[what]}
    )
    run(made, tmp_path / "out", display=OnStderr())
    told = capsys.readouterr().err
    for step in STEPS[what]:
        assert re.search(rf"^{step}, .*/s, \d+ s left$", told, re.MULTILINE), (step, told)
