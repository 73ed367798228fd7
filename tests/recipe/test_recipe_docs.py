"""The YAML on the page on recipes is a recipe."""

import re
from pathlib import Path

from infoprune.recipe import recipe_of
from infoprune.recipe.yaml_text import parsed

PAGE = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text()


def test_the_recipe_on_the_page_is_one():
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert recipe_of(parsed(text, "page")).depth.stages == 5
