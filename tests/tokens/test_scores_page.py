"""The page on tokens names every score."""

from pathlib import Path

import infoprune.tokens

TEXT = (Path(__file__).parents[2] / "docs" / "tokens.md").read_text(encoding="utf-8")


def test_every_score_is_on_the_page():
    assert all(f"`{name}`" in TEXT for name in infoprune.tokens.scores)
