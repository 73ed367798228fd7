"""Brings into the site what pages link to outside `docs/`: Markdown as pages, all else as files to read.

A page links to `../benchmarks/RESULTS.md` as the repository has it. In the site that file is `benchmarks/RESULTS.md`
beside the pages of `docs/`, and the link is written anew; so every link is right in both places.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
LINK = re.compile(r"(\]\()([^)\s#]+)((?:#[^)\s]*)?\))")
CODE = re.compile(r"(^```.*?^```|`[^`\n]+`)", re.DOTALL | re.MULTILINE)


def place_of(path: Path) -> str:
    """Where a file of the repository is in the site, from the site's root."""
    return path.relative_to(DOCS if path.is_relative_to(DOCS) else ROOT).as_posix()


def targets(page: Path, text: str) -> Iterator[Path]:
    """The files of the repository that a page links to."""
    for _, target, _ in LINK.findall(CODE.sub("", text)):
        path = (page.parent / target).resolve()
        if path.is_file() and path.is_relative_to(ROOT):
            yield path


def beyond(pages: list[Path]) -> set[Path]:
    """All files outside `docs/` that are reached from these pages."""
    seen: set[Path] = set()
    while pages:
        page = pages.pop()
        new = {path for path in targets(page, page.read_text(encoding="utf-8")) if not path.is_relative_to(DOCS)} - seen
        seen |= new
        pages.extend(path for path in new if path.suffix == ".md")
    return seen


def in_nav(nav: Any) -> Iterator[str]:
    """The sources that the navigation names."""
    if isinstance(nav, str):
        yield nav
    else:
        for part in nav.values() if isinstance(nav, dict) else nav:
            yield from in_nav(part)


def on_files(files: Files, *, config: Any) -> Files:
    named = [ROOT / source for source in in_nav(config.nav or []) if not (DOCS / source).exists()]
    top = [path for path in named if path.is_file()]
    for path in sorted({*top, *beyond([*sorted(DOCS.rglob("*.md")), *top])}):
        files.append(File.generated(config, place_of(path), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Files) -> str:
    source = DOCS / page.file.src_uri if page.file.abs_src_path is None else Path(page.file.abs_src_path)
    here = Path(page.file.src_uri).parent

    def moved(link: re.Match[str]) -> str:
        before, target, after = link.groups()
        path = (source.parent / target).resolve()
        if not (path.is_file() and path.is_relative_to(ROOT)):
            return link.group()
        place = place_of(path)
        if place.endswith(".ipynb") and not page.file.src_uri.startswith(place.removesuffix(".ipynb")):
            place = place.removesuffix(".ipynb") + ".md"  # its page, except from there
        return f"{before}{os.path.relpath(place, here)}{after}"

    parts = CODE.split(markdown)  # code at odd places stays as it is
    return "".join(part if i % 2 else LINK.sub(moved, part) for i, part in enumerate(parts))
