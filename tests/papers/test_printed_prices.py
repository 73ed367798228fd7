"""What the papers' tables print, what the recipes for them cost, and the page that sets both side by side."""

import pytest
from printed import ROWS
from tests.recipe.tiny import RECIPES, names

from papers import NEAR, PAGE, filled, gaps, on_file, priced, recipe_of_row

# recipes of our own, and those whose papers print no price
WITHOUT_A_ROW = {
    "quickstart", "stamps-mobilenetv2", "scenes-split", "cityscapes-split", "digits-on-photos-densenet40",
    "digits-on-photos-resnet20", "digits-on-photos-resnet56", "digits-on-photos-vgg16_bn",
}  # fmt: skip
QUICK = {("cifar10-resnet20-itpruner", ()), ("cifar10-resnet56-ped", ())}
IDS = [f"{row.paper}-{row.table}-{row.name}" for row in ROWS]
rows = pytest.mark.parametrize("row", ROWS, ids=IDS)


def near(row, found):
    """Whether all that is printed is met within a hundredth."""
    return all(abs(gap) <= NEAR for gap in gaps(row, found).values())


@pytest.mark.parametrize(("row", "found"), [(r, f) for r in ROWS if (f := on_file().get((r.recipe, r.settings)))])
def test_a_price_on_file_is_what_the_paper_prints_within_a_hundredth_or_the_row_says_why_not(row, found):
    assert near(row, found) == (not row.why), gaps(row, found)


def test_every_recipe_of_a_paper_has_a_row():
    assert {row.recipe for row in ROWS if not row.settings} == set(names()) - WITHOUT_A_ROW


@rows
def test_settings_of_a_row_stand_in_the_comment_of_its_recipe(row):
    text = (RECIPES / f"{row.recipe}.yaml").read_text(encoding="utf-8")
    assert not row.settings or f"#   {row.changes}" in text.splitlines()


@pytest.mark.parametrize("row", [row for row in ROWS if row.kept], ids=lambda row: f"{row.recipe}-{row.name}")
def test_a_choice_of_blocks_is_one_that_the_recipe_can_make(row):
    units = sum(last - first for first, last in row.kept.values())
    assert recipe_of_row(row).depth.keep_units == units


def test_the_page_is_what_the_prices_on_file_make_it():
    text = PAGE.read_text(encoding="utf-8")
    assert filled(text, on_file()) == text


def slow_unless_quick(row):
    return () if (row.recipe, row.settings) in QUICK else pytest.mark.slow


@pytest.mark.parametrize(
    "row", [pytest.param(row, marks=slow_unless_quick(row), id=name) for row, name in zip(ROWS, IDS, strict=True)]
)
def test_a_recipe_costs_what_its_paper_prints_within_a_hundredth_or_the_row_says_why_not(row):
    today, found = priced(row), on_file().get((row.recipe, row.settings))
    assert near(row, today) == (not row.why), gaps(row, today)
    assert found is None or {name: found[name] for name in today} == today
