"""What the workflows, the hooks and the scripts run is there: scripts, programs, options, suites."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from infoprune.cli.doctor import NEEDED

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10, where pytest brings the same under its first name
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
SCRIPTS = sorted(path for path in (ROOT / ".ci").iterdir() if path.suffix != ".txt")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
# not by the suite of the oldest releases, nor are tools of tests
NOT_INSTALLED = {"all", "dev", "docs", "zoo", "openvino", "nncf"}
LOWEST = {  # of what the library and its extras need: name -> the release from which on it is supported
    name: lowest
    for needs in (
        PROJECT["project"]["dependencies"],
        *(n for e, n in PROJECT["project"]["optional-dependencies"].items() if e not in {*NOT_INSTALLED, "test"}),
    )
    for name, lowest in (re.match(r"([\w-]+)>=([\d.]+)", needed).groups() for needed in needs)
}


def steps(path):
    jobs = yaml.safe_load(path.read_text())["jobs"].values()
    return [step for job in jobs for step in job["steps"]]


def commands(path):
    """The words of each command of a workflow's steps."""
    lines = [line for step in steps(path) if "run" in step for line in step["run"].splitlines()]
    return [shlex.split(part) for line in lines for part in line.split("&&")]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_commands_of_a_workflow_exist(path):
    for program, *words in commands(path):
        if program.startswith(".ci/"):
            assert (ROOT / program).stat().st_mode & 0o111, program
        else:
            assert program in ("python", ".venv/bin/pip", ".venv/bin/python"), program
        for word in (word for word in words if word.endswith(".py")):
            assert (ROOT / word).exists(), word


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_and_jobs_may_write_nothing_unless_they_say_so(path):
    told = yaml.safe_load(path.read_text())
    assert told["permissions"] == {"contents": "read"}
    for step in steps(path):
        assert re.fullmatch(r"[\w.-]+/[\w./-]+@(v\d+|release/v\d+|[0-9a-f]{40})", step.get("uses", "a/b@v1"))


def test_workflows_call_the_scripts_that_everybody_runs():
    called = {words[0] for path in WORKFLOWS for words in commands(path)}
    assert {".ci/lint", ".ci/test", ".ci/oldest", ".ci/docs", ".ci/release"} <= called
    run = (ROOT / ".ci/run").read_text().splitlines()
    assert {".ci/lint", ".ci/docs"} <= set(run)
    assert "mkdocs build --strict" in (ROOT / ".ci/docs").read_text()


def test_workflows_ask_for_extras_and_markers_that_exist():
    told = "".join(path.read_text() for path in WORKFLOWS)
    extras = {extra for found in re.findall(r"'\.\[([\w,]+)\]'", told) for extra in found.split(",")}
    markers = {line.split(":")[0] for line in PROJECT["tool"]["pytest"]["ini_options"]["markers"]}
    assert extras
    assert extras <= PROJECT["project"]["optional-dependencies"].keys()
    assert (
        set(re.findall(r"\.ci/test -m (\w+)", told)) == {"fast", "slow"} == markers - {"alone"}
    )  # how tests run, not which


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_bash_without_faults_of_syntax_and_stop_at_the_first_error(path):
    assert path.stat().st_mode & 0o111
    assert "set -euo pipefail" in path.read_text()
    assert subprocess.run(["bash", "-n", path], capture_output=True).stderr == b""


def test_the_oldest_releases_are_the_lower_bounds():
    pins = dict(line.split("==") for line in (ROOT / ".ci/oldest.txt").read_text().split())
    for name, lowest in LOWEST.items():
        assert (pins[name] + ".").startswith(lowest + "."), f"{name}: {pins[name]}, not {lowest}"
    assert pins.keys() - LOWEST.keys() == {"pyparsing"}, "of matplotlib's own, which warns of a newer one"


def test_the_doctor_asks_for_the_lower_bounds():
    told = {name: ".".join(map(str, least)) for name, least in NEEDED.items()}
    assert told == {name: LOWEST[name] for name in told}


def test_hooks_before_a_commit_run_what_lint_runs():
    hooks = [
        hook
        for repo in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
        for hook in repo["hooks"]
    ]
    programs = {" ".join(hook["entry"].split()[:2]) for hook in hooks}
    assert {"ruff check", "ruff format", "pyright", "codespell"} <= programs
    for hook in hooks:
        assert all((ROOT / word).exists() for word in hook["entry"].split() if word.endswith(".py"))


@pytest.mark.parametrize("path", sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml")), ids=lambda path: path.name)
def test_templates_of_issues_have_a_name_and_fields(path):
    told = yaml.safe_load(path.read_text())
    assert told == {"blank_issues_enabled": True} or (
        told["name"] and all(part["attributes"]["label"] for part in told["body"])
    )


def test_the_citation_names_the_four_papers_and_who_wrote_them():
    told = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert told["cff-version"] == "1.2.0"
    assert {"message", "title", "version", "authors", "license"} <= told.keys()
    papers = (ROOT / "docs/papers.md").read_text(encoding="utf-8")
    for paper in told["references"]:
        first = next(author for author in paper["authors"] if author["family-names"] in papers)
        assert first == paper["authors"][0]
    assert len(told["references"]) == 4


def test_all_is_what_a_person_installs():
    extras = PROJECT["project"]["optional-dependencies"]
    chosen = set(re.fullmatch(r"infoprune\[(.*)\]", extras["all"][0])[1].split(","))
    unasked = {"nncf"}  # its package brings one that reports how it is used
    assert chosen == extras.keys() - {"all", "dev", "test", "docs", "zoo"} - unasked


def test_the_first_hour_tells_every_extra_and_what_it_brings():
    page = (ROOT / "docs/first-hour.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]*)\|$", page, re.MULTILINE))
    extras = PROJECT["project"]["optional-dependencies"]
    assert rows.keys() == extras.keys() - {"dev", "test", "docs", "zoo"}
    for extra in rows.keys() - {"all"}:
        names = [re.match(r"[\w-]+(?:\[(\w+)\])?", needed) for needed in extras[extra]]
        assert all((name[1] or name[0]) in rows[extra] for name in names), extra
