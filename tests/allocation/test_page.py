"""Every python block of docs/allocation.md runs, in order, in one namespace."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "allocation.md"


def test_the_page_runs():
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    namespace: dict = {}
    for block in blocks:
        exec(compile(block, PAGE.name, "exec"), namespace)
    assert len(blocks) >= 5


def test_the_docstring_examples_hold():
    import doctest

    from infoprune.allocation import posynomial, problem, result

    for module in (posynomial, problem, result):
        assert doctest.testmod(module).failed == 0
