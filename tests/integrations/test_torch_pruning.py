"""The scripts that people copy, run as they stand."""

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent.parent / "integrations" / "torch_pruning"


def run(script, *arguments):
    command = [sys.executable, "-W", "ignore", str(FOLDER / script), "--size", "64", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_one_shot_says_what_it_saved():
    before, after = run("one_shot.py", "--model", "resnet18", "--ratio", "0.5").split("MACs ")[1].split(" -> ")[:2]
    assert int(after.split(",  ")[0].split(", par")[0].replace(",", "")) < 0.4 * int(before.replace(",", ""))


@pytest.mark.parametrize("model", ["resnet18", "mobilenetv2_050"])
def test_planned_widths_are_reached_in_steps(model):
    lines = run("planned_widths.py", "--model", model, "--macs", "0.5", "--steps", "2").splitlines()
    macs = [int(line.split(": ")[1].split()[0].replace(",", "")) for line in lines[:2]]
    assert macs[1] < macs[0]
    assert any(line.startswith("macs") and "remain" in line for line in lines)
