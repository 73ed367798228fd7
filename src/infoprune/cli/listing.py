"""The verb `list`. What is ours is read from a file: importing it would take seconds, since it imports torch."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from infoprune.cli.output import Result, as_table

Rows = list[tuple]
PACKAGE = Path(__file__).parent.parent
CATALOGUE, COVERAGE = Path(__file__).with_name("catalogue.json"), PACKAGE / "coverage.json"


def list_command(arguments: argparse.Namespace) -> Result:
    rows = models() if arguments.what == "models" else rows_of(arguments.what)
    return Result(as_table(rows), [dict(zip(rows[0], row, strict=True)) for row in rows[1:]])


def rows_of(what: str) -> Rows:
    """From the file, or from the registry where another package may have added to it."""
    if any(group.startswith("infoprune.") for group in entry_points().groups):
        return REGISTERED[what]()
    return [tuple(row) for row in json.loads(CATALOGUE.read_text())[what]]


def models() -> Rows:
    coverage = json.loads(COVERAGE.read_text())
    return [("name", "outcome"), *((row["model"], row["outcome"]) for row in coverage)]


def catalogue() -> str:
    """What the file holds; a test compares the two and says how to write it again."""
    return json.dumps({what: rows() for what, rows in REGISTERED.items()}, indent=1) + "\n"


def _importances() -> Rows:
    from infoprune.importance import rankings

    rows = [
        (name, *factory.about[:2], "yes" if factory.about.needs_data else "no") for name, factory in rankings.items()
    ]
    return [("name", "paper", "cost", "needs data"), *rows]


def _documented(registry: Mapping[str, Callable[..., Any]]) -> Rows:
    rows = [(name, (factory.__doc__ or "").strip().splitlines()[0]) for name, factory in registry.items()]
    return [("name", "what it does"), *rows]


def _budgets() -> Rows:
    from infoprune.budgets import budgets

    return _documented(budgets)


def _data() -> Rows:
    from infoprune.data import datasets

    return _documented(datasets)


def _solvers() -> Rows:
    from infoprune.allocation import solvers

    return _documented(solvers)


def _layerwise() -> Rows:
    from infoprune.layerwise import layerwise

    return _documented(layerwise)


REGISTERED: dict[str, Callable[[], Rows]] = {
    "budgets": _budgets,
    "data": _data,
    "importances": _importances,
    "layerwise": _layerwise,
    "solvers": _solvers,
}
LISTS = sorted([*REGISTERED, "models"])
