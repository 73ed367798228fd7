"""The comparison of runtimes that people copy, on a small network; what it says of outputs is torch's."""

import runpy
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent.parent / "integrations" / "runtimes" / "compare.py"
SMALL = ("--model", "resnet10t", "--size", "32", "--seconds", "0")


def run(monkeypatch, capsys, *arguments: str) -> list[list[str]]:
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *SMALL, *arguments])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    return capsys.readouterr().out.splitlines()


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


HERE = ("torch", "onnxruntime", *(["openvino"] if find_spec("openvino") else []))


@pytest.mark.filterwarnings("ignore")  # exporters and runtimes warn about themselves
@pytest.mark.parametrize("runtimes", [HERE, pytest.param(("torch.compile",), marks=pytest.mark.slow)], ids=len)
def test_a_pruned_network_computes_in_every_runtime_what_it_does_in_torch(runtimes, monkeypatch, capsys):
    rows = [cells(line) for line in run(monkeypatch, capsys, "--runtimes", *runtimes)[-len(runtimes) :]]
    assert [row[0] for row in rows] == list(runtimes)
    for _, dense, pruned, ratio, rounds, off in rows:
        assert float(dense) > 0
        assert float(pruned) > 0
        assert "to" in ratio
        assert int(rounds) >= 31
        assert float(off) < 1e-4


def test_an_absent_runtime_is_one_sentence_naming_the_extra(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *_: None)
    *_, line = run(monkeypatch, capsys, "--runtimes", "openvino")
    assert line == "openvino is not installed; pip install 'infoprune[openvino]'"
