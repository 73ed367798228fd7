"""The page of results is what the rows make it, and whatever claims a measurement names a command that exists."""

import re
import shlex
from pathlib import Path

import make_results
import pytest
from results_file import read

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", make_results.PAGE, *sorted((ROOT / "docs").glob("*.md"))]
COMMAND = re.compile(r"python (benchmarks/[a-z0-9_]+\.py(?: [^`\n]*)?)")


def commands(page: Path) -> list[list[str]]:
    """What the page tells to run, as words; what follows a comment sign is not part of it."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    return [shlex.split(found.replace("[", "").replace("]", ""), comments=True) for found in COMMAND.findall(text)]


def test_the_pages_are_what_the_rows_make_them():
    assert make_results.PAGE.read_text(encoding="utf-8") == make_results.page()
    assert make_results.TABLES.read_text(encoding="utf-8") == make_results.tables()
    assert make_results.COMPARISON.read_text(encoding="utf-8") == make_results.section("comparison")


def test_every_section_names_its_command():
    sections = make_results.PAGE.read_text(encoding="utf-8").split("\n## ")[1:]
    assert len(sections) == len(make_results.ORDER) - 1
    for section in sections:
        before_figures = re.split(r"\n\|", section)[0]
        assert COMMAND.search(before_figures), section.splitlines()[0]


def test_what_stands_behind_a_heading_moves_under_it_on_the_other_page(monkeypatch):
    first, second = (f"<!-- behind -->\n| {n} |\n<!-- /behind -->" for n in (1, 2))
    text = f"## One\nSaid.\n\n### Two %\nFigures:\n\n{first}\n\nAll.\n\n{second}"
    monkeypatch.setattr(make_results, "ORDER", ("only",))
    monkeypatch.setattr(make_results, "section", lambda name: text)
    front = (
        "## One\nSaid.\n\n### Two %\nFigures: [row by row](TABLES.md#two).\n\nAll.\n\n[Row by row](TABLES.md#two).\n"
    )
    assert make_results.page() == front.replace("#two", "#two-")
    assert make_results.tables().split("\n\n", 2)[2] == "## Two %\n[In short](RESULTS.md#two-).\n\n| 1 |\n\n| 2 |\n"


def with_imports(program: Path) -> str:
    """The text of a program and of the modules beside it that it imports, where shared options are defined."""
    text = program.read_text(encoding="utf-8")
    beside = [program.with_name(f"{name}.py") for name in re.findall(r"^from (\w+) import", text, re.MULTILINE)]
    return text + "".join(path.read_text(encoding="utf-8") for path in beside if path.exists())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_of_a_page_exist_with_their_options(page):
    for program, *options in commands(page):
        assert (ROOT / program).exists(), program
        source = with_imports(ROOT / program)
        for option in (word for word in options if word.startswith("--")):
            assert f'"{option}"' in source, f"{program} has no {option}"


def plain(text):
    return " ".join(text.replace("*", "").split())


def test_figures_of_the_readme_are_on_the_pages_that_it_names():
    rows = re.findall(
        r"^\|([^|]+)\|([^|]+)\| \[[^]]+\]\(([^)#]+)[^)]*\) \|$", (ROOT / "README.md").read_text(), re.MULTILINE
    )
    assert len(rows) >= 6
    for claim, told, page in rows:
        text = plain((ROOT / page).read_text(encoding="utf-8"))
        figures = re.findall(r"[+-]?\d+(?:\.\d+)?", told)
        assert figures, claim
        assert [
            figure for figure in figures if not re.search(rf"(?<![\d.]){re.escape(figure)}(?![\d]|\.\d)", text)
        ] == [], claim


def test_rows_name_the_program_that_wrote_them():
    for path in sorted((ROOT / "benchmarks/results").glob("*.jsonl")):
        told = {row["command"].split()[1] for row in read(path) if "command" in row}
        assert all((ROOT / program).exists() for program in told), told


def test_a_changed_row_changes_the_page(monkeypatch, tmp_path):
    from sections import depth, rows

    path = tmp_path / "depth_latency.jsonl"
    first, *others = (rows.FOLDER / path.name).read_text().splitlines(keepends=True)
    path.write_text(first.replace('"narrow_over_shallow": 1.311', '"narrow_over_shallow": 9.999') + "".join(others))
    before = depth.latency()
    monkeypatch.setattr(rows, "FOLDER", tmp_path)
    assert "1.31 (" in before
    assert "10.00 (" in depth.latency()


def test_fields_that_are_missing_or_unused_are_errors():
    assert make_results.filled("{{a}} of {{b}}", {"a": "1", "b": "2"}, "x") == "1 of 2"
    with pytest.raises(ValueError, match="lacks \\['b'\\]"):
        make_results.filled("{{a}} of {{b}}", {"a": "1"}, "x")
    with pytest.raises(ValueError, match="gives \\['b'\\]"):
        make_results.filled("{{a}}", {"a": "1", "b": "2"}, "x")
