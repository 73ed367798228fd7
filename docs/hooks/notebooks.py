"""Notebooks as pages of the site, with what they printed and drew when they were last run."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"


def page(path: Path) -> tuple[str, dict[str, bytes]]:
    """Markdown, and the pictures it shows by name."""
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
        for output in cell.get("outputs", ()):
            parts.extend(_shown(output, path.stem, pictures))
    download = f"[Download this notebook]({path.name}). It was run by `python docs/notebooks/run.py {path.stem}`."
    return "\n\n".join([parts[0], download, *parts[1:]]) + "\n", pictures


def _shown(output: dict[str, Any], stem: str, pictures: dict[str, bytes]) -> Iterator[str]:
    if output["output_type"] == "stream":
        yield f"```text\n{''.join(output['text']).rstrip()}\n```"
    elif picture := output.get("data", {}).get("image/png"):
        name = f"{stem}-{len(pictures) + 1}.png"
        pictures[name] = base64.b64decode(picture)
        yield f"![What the lines above draw]({name})"


def on_files(files: Files, *, config: Any) -> Files:
    for path in sorted(FOLDER.glob("*.ipynb")):
        text, pictures = page(path)
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=text))
        for name, data in pictures.items():
            files.append(File.generated(config, f"notebooks/{name}", content=data))
    return files
