"""Notebooks run from their first cell to the last, and what is kept in them is what such a run gives."""

import ast
import importlib.util
import time
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
MOST_S = 360  # of CPU: three minutes of two cores
spec = importlib.util.spec_from_file_location("docs_notebooks_run", FOLDER / "run.py")
runner = importlib.util.module_from_spec(spec)
spec.loader.exec_module(runner)


def cells(path, kind):
    return [cell for cell in runner.read(path)["cells"] if cell["cell_type"] == kind]


def test_there_are_four_to_six():
    assert 4 <= len(NOTEBOOKS) <= 6


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_one_cell_installs_and_the_first_cell_is_a_title(path):
    first, *others = cells(path, "code")
    assert "".join(first["source"]).startswith("%pip install -q ")
    assert not any(line.startswith(("%", "!")) for cell in others for line in cell["source"])
    assert cells(path, "markdown")[0]["source"][0].startswith("# ")
    for cell in others:
        ast.parse("".join(cell["source"]))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_is_kept_is_of_one_whole_run(path):
    kept = cells(path, "code")
    assert [cell["execution_count"] for cell in kept] == list(range(1, len(kept) + 1))
    shown = [output["output_type"] for cell in kept for output in cell["outputs"]]
    assert "stream" in shown
    assert set(shown) <= {"stream", "display_data"}


@pytest.mark.parametrize("path", [path for path in NOTEBOOKS if path.stem != "own_network"], ids=lambda path: path.stem)
def test_notebooks_have_pictures(path):
    assert any("image/png" in output.get("data", {}) for cell in cells(path, "code") for output in cell["outputs"])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # so that latencies are measured, as for a newcomer
    began = time.process_time()
    ran = runner.run(path)
    assert time.process_time() - began < MOST_S
    told = [len(cell["outputs"]) for cell in ran["cells"] if cell["cell_type"] == "code"]
    assert told == [len(cell["outputs"]) for cell in cells(path, "code")]
