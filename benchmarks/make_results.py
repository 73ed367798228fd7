"""Makes RESULTS.md, the long tables behind it and its plots from the rows in benchmarks/results/.

    python benchmarks/make_results.py            # writes RESULTS.md, TABLES.md and docs/comparison.md
    python benchmarks/make_results.py --plots    # also draws the pictures that are made of rows alone

A section is a page of Markdown in benchmarks/sections/, with {{fields}} where figures go, and a Python file of the same
name whose `fields()` gives them from rows. What stands between `<!-- behind -->` and `<!-- /behind -->` goes to
TABLES.md under the same heading, and a link takes its place. To add a section, write both and add the name to ORDER. A
measurement is never typed into a page: a field that is missing, or given and not used, is an error.
"""

from __future__ import annotations

import argparse
import importlib
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
SECTIONS = HERE / "sections"
PAGE = HERE / "RESULTS.md"
TABLES = HERE / "TABLES.md"
COMPARISON = HERE.parent / "docs" / "comparison.md"
ORDER = (
    "opening",
    "advice",
    "coverage",
    "surgery",
    "memory",
    "importance",
    "observation",
    "allocation",
    "contest",
    "compensation",
    "tuning",
    "importances",
    "search",
    "curve_models",
    "axes",
    "recovery",
    "product",
    "family",
    "decoder",
    "growth",
    "large",
    "latency",
    "runtimes",
    "int8",
    "processes",
    "wire",
    "depth",
    "estimators",
    "detection",
    "transformers",
    "split",
    "serving",
    "importing",
    "runs",
    "machine",
)


OPENING = """\
The long tables behind [results](RESULTS.md), made by the same program from the same rows. What was done, with which
command and what it says stands there."""
BEHIND = re.compile(r"(:?)\n\n<!-- behind -->\n(.*?)\n<!-- /behind -->", re.DOTALL)
HEADING = re.compile(r"^(#+) (.*)$", re.MULTILINE)


def page() -> str:
    """The whole of RESULTS.md."""
    return "\n\n".join(BEHIND.sub(_link, section(name)).strip() for name in ORDER) + "\n"


def tables() -> str:
    """The whole of TABLES.md: what stands behind each heading of RESULTS.md."""
    found: dict[str, list[str]] = {}
    for text in map(section, ORDER):
        for block in BEHIND.finditer(text):
            found.setdefault(_heading(block), []).append(block[2])
    parts = [
        f"## {title}\n[In short](RESULTS.md#{slug(title)}).\n\n" + "\n\n".join(blocks)
        for title, blocks in found.items()
    ]
    return "\n\n".join(["# Tables\n\n" + OPENING, *parts]) + "\n"


def _link(block: re.Match[str]) -> str:
    """After a colon it ends the sentence."""
    before, words = (": ", "row by row") if block[1] else ("\n\n", "Row by row")
    return f"{before}[{words}](TABLES.md#{slug(_heading(block))})."


def _heading(block: re.Match[str]) -> str:
    """The title of the heading that a block stands under."""
    return HEADING.findall(block.string, 0, block.start())[-1][1]


def slug(title: str) -> str:
    """The anchor that readers of Markdown make of a title."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


@cache
def section(name: str) -> str:
    text = (SECTIONS / f"{name}.md").read_text(encoding="utf-8")
    return filled(text, importlib.import_module(f"sections.{name}").fields(), name)


def filled(text: str, fields: Mapping[str, str], name: str) -> str:
    """The text with every {{field}} replaced; both must speak of the same fields."""
    asked = set(re.findall(r"\{\{(\w+)\}\}", text))
    if asked != fields.keys():
        lacking, unused = sorted(asked - fields.keys()), sorted(fields.keys() - asked)
        raise ValueError(f"sections/{name}: fields() lacks {lacking} and gives {unused} that {name}.md does not use")
    return re.sub(r"\{\{(\w+)\}\}", lambda match: fields[match[1]], text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plots", action="store_true", help="also draw the pictures that are made of rows alone")
    options = parser.parse_args()
    PAGE.write_text(page(), encoding="utf-8")
    TABLES.write_text(tables(), encoding="utf-8")
    COMPARISON.write_text(section("comparison"), encoding="utf-8")
    if options.plots:
        import compensation_cost
        import compensation_tuning
        import growth
        import pareto_picture
        import vit_saliency
        from results_file import FOLDER, read
        from sections import product, tuning

        import compensation

        images = HERE.parent / "docs" / "images"
        compensation.plot(read(FOLDER / "compensation.jsonl"), images / "compensation.svg")
        compensation_cost.plot(read(FOLDER / "compensation_cost.jsonl"), images / "compensation-cost.svg")
        compensation_tuning.plot(tuning.tuned(), images / "pictures-seen.svg")
        growth.plot(read(FOLDER / "growth.jsonl"), images / "growth.png")
        pareto_picture.plot(*product.picture(), images / "pareto.png")
        vit_saliency.plot(read(FOLDER / "vit_saliency.jsonl"), images / "vit-saliency.png")


if __name__ == "__main__":
    main()
