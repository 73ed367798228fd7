"""The first page's picture is of a network that was really pruned, and the kept one is what is drawn today."""

import re
from xml.etree import ElementTree

import idea_picture
import pytest


@pytest.fixture(scope="module")
def drawn():
    return idea_picture.example()


def test_what_the_picture_tells_holds(drawn):
    assert len(drawn.kept) == 4
    assert sorted(sorted(range(6), key=lambda unit: drawn.scores[unit])[2:]) == list(drawn.kept)  # the least leave
    assert drawn.prices == (84, 56)
    assert drawn.difference < 1e-12
    assert drawn.errors[1] < 0.2 * drawn.errors[0]


def test_the_kept_picture_says_what_is_drawn_today(drawn):
    kept = (idea_picture.IMAGES / "idea.svg").read_text(encoding="utf-8")
    words = [re.findall(r"<text[^>]*>([^<]*)", svg) for svg in (kept, idea_picture.idea(drawn))]
    assert words[0] == words[1]


@pytest.mark.parametrize("name", ["idea", "coupled", "certificate"])
def test_kept_pictures_are_svg_that_loads_nothing(name):
    text = (idea_picture.IMAGES / f"{name}.svg").read_text(encoding="utf-8")
    assert ElementTree.fromstring(text).get("aria-label")
    assert set(re.findall(r"https?://[^\"' ]+", text)) == {"http://www.w3.org/2000/svg"}
