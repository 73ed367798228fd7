"""Every python block of the page on recipes runs, and its YAML is a recipe."""

import re
from pathlib import Path

from infoprune.recipe import recipe_of
from infoprune.recipe.yaml_text import parsed

PAGE = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text()


def test_every_block_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace: dict = {}
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(compile(block, "docs/recipes.md", "exec"), namespace)


def test_the_recipe_on_the_page_is_one():
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert recipe_of(parsed(text, "page")).depth.stages == 5
