"""Where verbs write unless they are told, known before anything is loaded."""

from __future__ import annotations

import argparse
from pathlib import Path

from infoprune.errors import InfopruneError
from infoprune.files import require_writable

PAGE = "report.html"


def default_out(recipe: Path) -> Path:
    """The directory of a recipe's run."""
    return Path("runs") / recipe.stem


def check_out(arguments: argparse.Namespace) -> None:
    """An error now, if what the verb will write could not be written where it goes."""
    out: Path | None = getattr(arguments, "out", None)
    if out is None and arguments.verb == "run" and not arguments.dry_run:
        out = default_out(arguments.recipe)
    if out is None and arguments.verb == "report":
        out = arguments.run_directory / PAGE
    if out is None:
        return
    if arguments.writes == "file" and out.is_dir():
        raise InfopruneError(f"{out} is a directory and cannot be written as a file; choose another --out")
    if arguments.writes == "directory" and out.exists() and not out.is_dir():
        raise InfopruneError(f"{out} is a file and cannot be written as a directory; choose another --out")
    require_writable(out)
