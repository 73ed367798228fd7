"""Finds what the pages of a built site would ask other hosts for: python docs/hooks/requests.py site

Links that a reader may click are fine; scripts, styles, fonts, pictures and frames from elsewhere are not.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

LOADS = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
    "link": "href",
}
CALM = {"canonical", "alternate", "prev", "next", "author", "license"}  # kinds of <link> that load nothing
IN_STYLE = re.compile(r"(?:url\(|@import\s+)\s*[\"']?((?:https?:)?//[^\"')\s]+)")


class _Loads(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = {name: value or "" for name, value in attrs}
        if tag == "link" and set(told.get("rel", "").split()) <= CALM:
            return
        self.found.append(told.get(LOADS.get(tag, ""), ""))


def asked(page: str) -> list[str]:
    """The addresses on other hosts that this page loads by itself."""
    loads = _Loads()
    loads.feed(page)
    return [url for url in (*loads.found, *IN_STYLE.findall(page)) if re.match(r"(https?:)?//", url)]


def asked_by(site: Path) -> Iterator[str]:
    for path in sorted(p for kind in ("*.html", "*.css") for p in site.rglob(kind)):
        yield from (f"{path.relative_to(site)}: {url}" for url in asked(path.read_text(encoding="utf-8")))


def main() -> None:
    site = Path(sys.argv[1])
    if not (site / "index.html").exists():
        sys.exit(f"{site} holds no built site; run mkdocs build first")
    if found := list(asked_by(site)):
        sys.exit("these pages ask other hosts:\n" + "\n".join(found))


if __name__ == "__main__":
    main()
