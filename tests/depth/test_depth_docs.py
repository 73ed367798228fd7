"""Every code block of docs/depth.md runs in order, and its pictures are there."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "depth.md"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)


@pytest.fixture(scope="module")
def page():
    return {}


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_block_of_the_depth_page_runs(number, page):
    exec(compile(BLOCKS[number], f"{PAGE.name}, block {number + 1}", "exec"), page)


def test_pictures_of_the_depth_page_exist():
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", TEXT)
    assert pictures
    assert all((PAGE.parent / picture).is_file() for picture in pictures)
