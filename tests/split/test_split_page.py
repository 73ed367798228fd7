"""Every code block of docs/split.md runs, in order, and its pictures are there."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "split.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_every_block_runs(capsys):
    names: dict = {}
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)):
        exec(compile(block, f"{PAGE.name}, block {number + 1}", "exec"), names)
    printed = capsys.readouterr().out
    assert "is needed as well, in 'backbone.body.2'" in printed
    assert "-10.0" in printed


def test_pictures_exist():
    pictures = re.findall(r"!\[[^]]*\]\(([^)]+)\)", TEXT)
    assert pictures
    assert all((PAGE.parent / picture).is_file() for picture in pictures)
