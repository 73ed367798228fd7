"""The blocks of docs/tokens.md run in order, and its picture is there."""

import re
from pathlib import Path

import infoprune.tokens

PAGE = Path(__file__).parents[2] / "docs" / "tokens.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_every_block_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page: dict = {}
    for block in re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL):
        exec(compile(block, PAGE.name, "exec"), page)
    del infoprune.tokens.scores._factories["brightest"]


def test_every_score_is_on_the_page():
    assert all(f"`{name}`" in TEXT for name in infoprune.tokens.scores)


def test_the_picture_is_there():
    assert all((PAGE.parent / picture).is_file() for picture in re.findall(r"!\[.*?\]\((.*?)\)", TEXT))
