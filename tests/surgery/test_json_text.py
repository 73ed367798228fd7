"""Texts that claim to be plans: a typed error before they take time or memory."""

import json
import os
import resource
import time

import pytest
import torch_pruning as tp
from tests.small_nets import Residual, image, make

import infoprune as ip
from infoprune.errors import BadArtifact


def plan_text():
    made = ip.plan(make(Residual), image(), tp.importance.MagnitudeImportance(p=2), rates=0.5)
    return made.to_json()


def repeated(times):
    told = json.loads(plan_text())
    return json.dumps({**told, "edits": told["edits"][:1] * times})


HOSTILE = {
    "a number of 5,000 digits": (lambda: plan_text().replace('"version":1', '"version":' + "1" * 5000), "is not JSON"),
    "20,000 repeated edits": (lambda: repeated(20_000), "cuts .* twice|more than any plan"),
    "two edits of one site": (lambda: repeated(2), "cuts .* twice"),
    "nested brackets": (lambda: "[" * 60_000_000, "more than any plan"),
    "brackets side by side": (lambda: "[" + "[]," * 20_000_000 + "[]]", "more than any plan"),
    "numbers": (lambda: "[" + "12345," * 10_000_000 + "1]", "more than any plan"),
    "too long a text": (lambda: '"' + "a" * (65 << 20) + '"', "at most 67108864 are read"),
    "deep": (lambda: "[" * 200_000, "is not JSON"),
}


def costs_of(work):
    """Seconds of CPU and MB that `work` takes in a child, which says what was raised."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        before, started, said = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time(), ""
        try:
            work()
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        os.write(writing, json.dumps([time.process_time() - started, used / 1024, said]).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as told:
        found = json.loads(told.read())
    os.waitpid(child, 0)
    return found


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_texts_are_refused_in_a_second_and_200_megabytes(name):
    text, said = HOSTILE[name][0](), HOSTILE[name][1]
    seconds, megabytes, found = costs_of(lambda: ip.Plan.from_json(text))
    assert found.startswith("BadArtifact: the plan ")
    with pytest.raises(BadArtifact, match=said):
        ip.Plan.from_json(text)
    assert seconds < 1
    assert megabytes < 200


def test_a_config_of_brackets_is_refused_likewise(tmp_path):
    (tmp_path / "config.json").write_bytes(b"[" + b"[]," * 20_000_000 + b"[]]")
    seconds, megabytes, found = costs_of(lambda: ip.load(tmp_path))
    assert found.startswith("BadArtifact: ")
    assert "more than any plan" in found
    assert (seconds < 1, megabytes < 200) == (True, True)


def test_something_else_than_text_is_told():
    with pytest.raises(TypeError, match="the plan is a dict; give its text"):
        ip.Plan.from_json({})


@pytest.mark.parametrize("utility", [-400, -1e9, float("-inf"), 1.5])
def test_a_utility_out_of_range_is_a_sentence(utility):
    l2, budget = tp.importance.MagnitudeImportance(p=2), ip.budgets.macs(keep=0.5)
    with pytest.raises(ValueError, match=r"^utility is .*; give p = 1 \(linear\) or p from -64 to 0"):
        ip.plan(make(Residual), image(), l2, budgets=[budget], utility=utility)


def test_the_least_utility_is_solved():
    l2, budget = tp.importance.MagnitudeImportance(p=2), ip.budgets.macs(keep=0.5)
    assert ip.plan(make(Residual), image(), l2, budgets=[budget], utility=-64).prices["macs"].keep <= 0.5
