"""The site: every page in the navigation, every public name on exactly one page, nothing asked of other hosts."""

import importlib
import importlib.util
import re
from collections import Counter
from pathlib import Path

import pytest
import yaml

from tests.public_names import public_names

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
DIRECTIVE = re.compile(r"^::: (infoprune\.[\w.]+)$", re.MULTILINE)
NOTEBOOKS = sorted(DOCS.glob("notebooks/*.ipynb"))
FIRST = (DOCS / "index.md").read_text(encoding="utf-8")


def hook(name):
    spec = importlib.util.spec_from_file_location(f"docs_hooks_{name}", DOCS / "hooks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def named(path):
    """What a dotted path names; where a function and a module share a name, the module is gone into."""
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError:
        return getattr(named(module), name)


def sources(nav):
    if isinstance(nav, str):
        return [nav]
    return [source for part in (nav.values() if isinstance(nav, dict) else nav) for source in sources(part)]


def navigation():
    return sources(yaml.load((ROOT / "mkdocs.yml").read_text(), yaml.BaseLoader)["nav"])


def test_every_public_name_is_on_exactly_one_page():
    told = [path for page in sorted(DOCS.glob("reference/*.md")) for path in DIRECTIVE.findall(page.read_text())]
    public = {id(value): path for path, value in public_names().items()}
    pages = Counter(id(named(path)) for path in told)
    assert [path for path in told if id(named(path)) not in public] == []
    assert [path for value, path in public.items() if pages[value] != 1] == []


def test_no_directive_names_a_module_where_a_name_of_it_is_meant():
    """Where a package and a module of it share a name, the page would show the whole module."""
    told = [path for page in sorted(DOCS.glob("reference/*.md")) for path in DIRECTIVE.findall(page.read_text())]
    assert [path for path in told if (ROOT / "src" / f"{path.replace('.', '/')}.py").exists()] == []


def test_every_page_is_in_the_navigation_once_and_exists():
    told = navigation()
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    pages |= {f"notebooks/{path.stem}.md" for path in NOTEBOOKS}
    assert [source for source, times in Counter(told).items() if times > 1] == []
    assert pages - set(told) == set()
    assert [source for source in told if source not in pages and not (ROOT / source).exists()] == []


@pytest.mark.parametrize(
    "question",
    ["prune my own", '"exact" mean', "keep my optimizer", "in another process", "was my model refused", "fast is it"],
)  # fmt: skip
def test_a_stranger_finds_the_answer_from_the_first_page(question):
    (row,) = [line for line in FIRST.splitlines() if line.startswith("|") and question in line]
    target = re.search(r"\]\(([^)#]+)", row)[1]
    assert (DOCS / target).resolve().is_file()


def test_what_a_page_loads_from_elsewhere_is_found():
    asked = hook("requests").asked
    assert (
        asked('<a href="https://else.where/">x</a><link rel="canonical" href="https://our.own/"><img src="x.png">')
        == []
    )
    assert asked('<script src="https://cdn.else/x.js"></script>') == ["https://cdn.else/x.js"]
    assert asked('<link rel="stylesheet" href="//fonts.else/css">') == ["//fonts.else/css"]
    assert asked("<style>@font-face{src:url(https://fonts.else/a.woff)}</style>") == ["https://fonts.else/a.woff"]


def test_the_theme_loads_no_fonts():
    assert yaml.load((ROOT / "mkdocs.yml").read_text(), yaml.BaseLoader)["theme"]["font"] == "false"
