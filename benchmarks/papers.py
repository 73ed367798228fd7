"""Prices every row of the papers' tables and fills the tables of docs/papers.md.

    python benchmarks/papers.py                    # prices what is not on file yet, then writes docs/papers.md
    python benchmarks/papers.py --only resnet20    # prices rows of recipes with this in their names again, then writes

Rows with budgets are priced as `infoprune run RECIPE --dry-run` prices them. Where blocks leave, the price is that of
the choice in printed.py; a dry run says between which prices choices lie.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from printed import ROWS, Row
from results_file import FOLDER, ResultsFile, arguments, read
from torch import Tensor, nn

from infoprune.depth import removals
from infoprune.depth.prices import params_of, without
from infoprune.measure import measure
from infoprune.recipe import Recipe, read_recipe
from infoprune.recipe.basis import example
from infoprune.recipe.networks import network_of
from infoprune.recipe.pricing import price
from infoprune.recipe.tasks import task_of_noise
from infoprune.surgery.blocks import DropBlock

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "papers.md"
PAPERS = ("capacity", "strategy", "energy")
KEY = ("recipe", "settings")
LARGE = 1000  # millions, from which on the papers print billions
NEAR = 0.01


def recipe_of_row(row: Row) -> Recipe:
    return read_recipe(ROOT / "recipes" / f"{row.recipe}.yaml", list(row.settings))


def priced(row: Row) -> dict[str, Any]:
    """What the row costs here: `counted` is in operations as its paper counts them."""
    if row.kept:
        return _priced_choice(row)
    found = price(recipe_of_row(row))
    return {"macs": found.macs_after, "params": found.params_after, "counted": found.macs_after}


def _priced_choice(row: Row) -> dict[str, Any]:
    model, x, edits = _units(row.recipe)
    stay = {f"{stage}.{i}" for stage, (first, last) in row.kept.items() for i in range(first, last)}
    odd = stay - {edit.unit.name for edit in edits}
    assert not odd, f"{row.recipe} has no units {sorted(odd)}"
    reduced = without(model, [edit for edit in edits if edit.unit.name not in stay])
    macs = measure(reduced, x).macs
    return {"macs": macs, "params": params_of(reduced), "counted": macs + 2 * normed(reduced, x)}


@cache
def _units(name: str) -> tuple[nn.Module, Tensor, Sequence[DropBlock]]:
    """The dense network of a recipe, its example and its units."""
    recipe = read_recipe(ROOT / "recipes" / f"{name}.yaml")
    task = task_of_noise(recipe)
    assert task is not None, f"{name} needs its data to be priced"
    model, x = network_of(recipe, task.classes, published=False), example(task)
    return model, x, removals(model, x)


def normed(model: nn.Module, x: Tensor) -> int:
    """How many numbers the batch norms of a network give out."""
    counts: list[int] = []
    hooks = [
        module.register_forward_hook(lambda _, __, out: counts.append(out.numel()))
        for module in model.modules()
        if isinstance(module, nn.BatchNorm2d)
    ]
    with torch.no_grad():
        model.eval()(x)
    for hook in hooks:
        hook.remove()
    return sum(counts)


# ------------------------------------------------------------------------------------------------------------- page


def gaps(row: Row, found: dict[str, Any]) -> dict[str, float]:
    """How far ours is from what is printed, as shares of it; digits that agree with the printed ones are no gap."""
    millions = {"macs": (found["counted"], row.macs), "params": (found["params"], row.params)}
    return {
        name: 0.0 if name == "params" and round(ours / 1e6, 2) == printed else ours / 1e6 / printed - 1
        for name, (ours, printed) in millions.items()
        if printed is not None
    }


def on_file() -> dict[tuple[str, tuple[str, ...]], dict[str, Any]]:
    rows = read(FOLDER / "papers.jsonl")
    return {(row["recipe"], tuple(row["settings"])): row for row in rows}


def table(paper: str, found: dict[tuple[str, tuple[str, ...]], dict[str, Any]]) -> str:
    rows = [row for row in ROWS if row.paper == paper]
    counted = " (counted as there)" if paper == "energy" else ""
    lines = [
        f"| table | network | printed MACs | ours{counted} | printed parameters | ours | `infoprune run` |",
        "|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *(_line(row, found.get((row.recipe, row.settings))) for row in rows)])


def _line(row: Row, found: dict[str, Any] | None) -> str:
    macs, params = ("not on file", "not on file") if found is None else _ours(row, found)
    kept = f" ({_kept(row)})" if row.kept else ""
    printed = "-" if row.params is None else f"{row.params:.2f} M"
    command = f"`{f'{row.recipe} {row.changes}'.strip()}`"
    cells = [row.table, row.name + kept, _amount(row.macs, row.macs), macs, printed, params, command]
    return f"| {' | '.join(cells)} |"


def _ours(row: Row, found: dict[str, Any]) -> tuple[str, str]:
    macs = _amount(found["counted"] / 1e6, row.macs)
    if found["counted"] != found["macs"]:
        macs += f"; {_amount(found['macs'] / 1e6, row.macs)} MACs"
    params = "-" if row.params is None else f"{found['params'] / 1e6:.{3 if row.params < 1 else 2}f} M"
    return macs, params


def _kept(row: Row) -> str:
    counts = [last - first for first, last in row.kept.values()]
    return f"{' + '.join(map(str, counts))} of its units"


def _amount(millions: float, like: float) -> str:
    return f"{millions / 1000:.2f} G" if like >= LARGE else f"{millions:.2f} M"


def whys(paper: str) -> str:
    """What keeps rows from 1 % of the printed price."""
    return "\n".join(f"- {row.name}: {row.why}" for row in ROWS if row.paper == paper and row.why)


def filled(text: str, found: dict[tuple[str, tuple[str, ...]], dict[str, Any]]) -> str:
    """The page with its tables made again, between the comments that mark them."""
    for paper in PAPERS:
        told = "\n\n".join(filter(None, [table(paper, found), whys(paper)]))
        pattern = re.compile(f"(<!-- {paper}: made by benchmarks/papers.py -->\n).*?(<!-- end -->)", re.DOTALL)
        text, times = pattern.subn(lambda m, told=told: f"{m[1]}\n{told}\n\n{m[2]}", text)
        assert times == 1, f"docs/papers.md marks {times} tables for {paper}"
    return text


def chosen(only: str, results: ResultsFile, *, smoke: bool) -> Sequence[Row]:
    if smoke:
        return [row for row in ROWS if row.recipe == "cifar10-resnet20-itpruner"]
    if only:
        return [row for row in ROWS if any(name in row.recipe for name in only.split(","))]
    return [row for row in ROWS if not results.has(recipe=row.recipe, settings=row.settings)]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--only", default="", help="price rows of recipes with one of these in their names again: A,B")
    options = parser.parse_args()
    results = ResultsFile.of(options, "papers", KEY)
    for row in chosen(options.only, results, smoke=options.smoke):
        results.append({"recipe": row.recipe, "settings": row.settings, **priced(row)})
    if not options.smoke:
        PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), on_file()), encoding="utf-8")


if __name__ == "__main__":
    main()
