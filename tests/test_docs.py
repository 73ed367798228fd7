"""Every python block in README and the pages listed here runs, in order, in one namespace a page."""

import re
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent
PAGES = ("README.md", "docs/export.md", "docs/surgery.md")


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("page", PAGES)
def test_every_block_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    namespace: dict = {}
    assert blocks(page)
    for block in blocks(page):
        exec(compile(block, page, "exec"), namespace)


def test_links_of_the_readme_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text()):
        assert (ROOT / target).exists(), target


def test_the_readme_has_two_commands_and_ci_runs_the_second():
    text = (ROOT / "README.md").read_text()
    commands = [block.strip() for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)][:2]
    assert [len(command.splitlines()) for command in commands] == [1, 1]
    assert "infoprune prune" in commands[0]
    assert commands[1].endswith("-m pytest")
    assert "grep -m1 -F \"'.[test]'\" README.md" in (ROOT / ".ci" / "run").read_text()
