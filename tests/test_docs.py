"""What README and docs show is so: code runs, links and pictures lead somewhere, docstring examples hold."""

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest
import torch
import torch_pruning as tp

import infoprune
from infoprune.registry import Registry

ROOT = Path(__file__).parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("benchmarks/*.md")), *sorted(ROOT.glob("docs/**/*.md"))]
LATER = {f"docs/{name}.md" for name in ("detection", "integrations", "serving")}  # what the tests of that name run
MODULES = [name for _, name, _ in pkgutil.walk_packages(infoprune.__path__, "infoprune.") if "__main__" not in name]


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def as_found(tmp_path, monkeypatch):
    """Pages write files and register names; all of it is gone afterwards. No page waits for the machine to be timed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(importlib.import_module("infoprune.budgets.latency"), "_cached", without_noise)
    torch.manual_seed(0)
    registries = [
        value
        for name in MODULES
        if not name.startswith("infoprune.integrations")
        for value in vars(importlib.import_module(name)).values()
        if isinstance(value, Registry)
    ]
    before, host = [(registry, dict(registry._factories)) for registry in registries], set(vars(tp.importance))
    yield
    for registry, factories in before:
        registry._factories = factories
    for name in set(vars(tp.importance)) - host:
        delattr(tp.importance, name)


def without_noise(about, device, measure):
    """Coefficients of a machine without noise, for layers and for the network."""
    return [1e-2, 0.01, 0.01, 0.1] if about[0] == "layer" else [1.0, 0.0, 1.0]


@pytest.mark.usefixtures("as_found", "few_digits")
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize(
    "page", [pytest.param(p, marks=pytest.mark.slow) if named(p) in LATER else p for p in PAGES if blocks(p)], ids=named
)
def test_every_block_runs_in_order(page):
    names: dict = {}
    for number, block in enumerate(blocks(page), 1):
        exec(compile(block, f"{page.name}, block {number}", "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_and_pictures_lead_somewhere(page):
    prose = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", prose)
    missing = [t for t in targets if not t.startswith("http") and not (page.parent / t).exists()]
    assert not missing


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples_hold(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_the_readme_has_two_commands_and_ci_runs_the_second():
    text = (ROOT / "README.md").read_text()
    commands = [block.strip() for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)][:2]
    assert [len(command.splitlines()) for command in commands] == [1, 1]
    assert "infoprune" in commands[0]
    assert commands[1].endswith("-m pytest")
    assert "grep -m1 -F \"'.[test]'\" README.md" in (ROOT / ".ci" / "run").read_text()
