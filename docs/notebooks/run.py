"""Runs notebooks cell by cell and keeps what they print and draw: python docs/notebooks/run.py [NAME ...]

A notebook is run in an empty folder, in one namespace, as a notebook service does it; its line that installs is passed
over. Needs matplotlib and no Jupyter.
"""

from __future__ import annotations

import base64
import io
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def code_of(cell: dict[str, Any]) -> str:
    """Without lines for the notebook alone, such as %pip."""
    return "".join(line for line in cell["source"] if not line.startswith(("%", "!")))


def outputs_of(notebook: dict[str, Any]) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Each cell of code in turn, with what it printed and drew; an error in a cell is raised."""
    import matplotlib

    matplotlib.use("Agg")
    names: dict[str, Any] = {"__name__": "__main__"}
    for number, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] == "code":
            printed = io.StringIO()
            with redirect_stdout(printed):
                exec(compile(code_of(cell), f"cell {number}", "exec"), names)
            yield cell, [*_stream(printed.getvalue()), *_pictures()]


def _stream(text: str) -> list[dict[str, Any]]:
    return [{"output_type": "stream", "name": "stdout", "text": text.splitlines(keepends=True)}] if text else []


def _pictures() -> Iterator[dict[str, Any]]:
    """The figures that are open, closed once they are taken."""
    from matplotlib import pyplot

    for number in pyplot.get_fignums():
        drawn = io.BytesIO()
        pyplot.figure(number).savefig(drawn, format="png", dpi=72, bbox_inches="tight", metadata={"Software": None})
        data = {"image/png": base64.b64encode(drawn.getvalue()).decode(), "text/plain": ["<Figure>"]}
        yield {"output_type": "display_data", "data": data, "metadata": {}}
    pyplot.close("all")


def run(path: Path) -> dict[str, Any]:
    """The notebook as it is after a run."""
    notebook, before = read(path), os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            for count, (cell, made) in enumerate(outputs_of(notebook), 1):
                cell["execution_count"], cell["outputs"] = count, made
        finally:
            os.chdir(before)
    return notebook


def main() -> None:
    for path in [HERE / f"{name}.ipynb" for name in sys.argv[1:]] or sorted(HERE.glob("*.ipynb")):
        began = time.process_time()
        notebook = run(path)
        path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        sys.stderr.write(f"{path.name}: {time.process_time() - began:.0f} s of CPU\n")


if __name__ == "__main__":
    main()
