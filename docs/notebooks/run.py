"""Runs notebooks cell by cell and keeps what they print and draw: python docs/notebooks/run.py [NAME ...]

A notebook is run in an empty folder, in one namespace, as a notebook service does it; its line that installs is passed
over. Needs matplotlib and no Jupyter.
"""

from __future__ import annotations

import ast
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
                last = _executed(code_of(cell), f"cell {number}", names)
            yield cell, [*_stream(printed.getvalue()), *_pictures(last)]


def _executed(code: str, where: str, names: dict[str, Any]) -> Any:
    """What the last line gives, which a notebook shows, unless it ends with a semicolon."""
    body = ast.parse(code).body
    last = body.pop() if body and isinstance(body[-1], ast.Expr) and not code.rstrip().endswith(";") else None
    exec(compile(ast.Module(body, []), where, "exec"), names)
    return None if last is None else eval(compile(ast.Expression(last.value), where, "eval"), names)


def _stream(text: str) -> list[dict[str, Any]]:
    return [{"output_type": "stream", "name": "stdout", "text": text.splitlines(keepends=True)}] if text else []


def _pictures(last: Any) -> Iterator[dict[str, Any]]:
    """The figures that are open, closed once they are taken, or else the figure that the last line gave."""
    from matplotlib import pyplot
    from matplotlib.figure import Figure

    opened = [pyplot.figure(number) for number in pyplot.get_fignums()]
    for figure in opened or [last] * isinstance(last, Figure):
        drawn = io.BytesIO()
        figure.savefig(drawn, format="png", dpi=72, bbox_inches="tight", metadata={"Software": None})
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
