"""Every code block of docs/importance.md runs, and its pictures are there."""

import re
from pathlib import Path

import pytest
import torch_pruning as tp

from infoprune.importance import importances

PAGE = Path(__file__).parents[2] / "docs" / "importance.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.fixture(scope="module")
def page():
    """The names that earlier blocks left behind; what they register is taken back."""
    ours, host = dict(importances._factories), set(vars(tp.importance))
    yield {}
    importances._factories = ours
    for name in set(vars(tp.importance)) - host:
        delattr(tp.importance, name)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_block_runs(number, page):
    exec(compile(BLOCKS[number], f"{PAGE.name}, block {number + 1}", "exec"), page)


def test_pictures_exist():
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", PAGE.read_text(encoding="utf-8"))
    assert pictures
    assert all((PAGE.parent / picture).is_file() for picture in pictures)
