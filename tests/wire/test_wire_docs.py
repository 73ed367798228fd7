"""Every code block of docs/wire.md runs in order."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "wire.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.fixture(scope="module")
def page():
    return {}


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_block_of_the_wire_page_runs(number, page):
    exec(compile(BLOCKS[number], f"{PAGE.name}, block {number + 1}", "exec"), page)
