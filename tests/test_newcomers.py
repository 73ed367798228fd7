"""Where something new goes: one file and one line in the list of its package, as CONTRIBUTING.md says."""

import ast
import re
import shutil
from pathlib import Path

import pytest

from tests.fresh import python
from tests.test_layers import SOURCE, graph_of, modules, reached

ROOT = Path(__file__).parents[1]
REGISTERING = {"register", "data_set", "rule"}  # decorators that file what stands under them

HOMES = {
    "importance": ("infoprune.importance", "importances"),
    "layer importance": ("infoprune.layerwise", "layerwise"),
    "budget": ("infoprune.budgets", "budgets"),
    "solver": ("infoprune.allocation", "solvers"),
    "edit": ("infoprune.surgery", "edits"),
    "token score": ("infoprune.surgery", "token_scores"),
    "codec": ("infoprune.wire", "codecs"),
    "data set": ("infoprune.data", "datasets"),
    "model": ("infoprune.models", "models"),
    "family": ("infoprune.families", "families"),
    "operation of the tracer": ("infoprune.graph.rules.base", "rules"),
}
FILED_BY = {  # where the decorator of a kind comes from, and how it is written
    "importance": ("infoprune.importance.base import importances", 'importances.register("newcomer")'),
    "layer importance": ("infoprune.layerwise.uniform import layerwise", 'layerwise.register("newcomer")'),
    "budget": ("infoprune.budgets.base import budgets", 'budgets.register("newcomer")'),
    "solver": ("infoprune.allocation.solvers import solvers", 'solvers.register("newcomer")'),
    "edit": ("infoprune.surgery.edit import edits", 'edits.register("newcomer")'),
    "token score": ("infoprune.surgery.token_scores import token_scores", 'token_scores.register("newcomer")'),
    "codec": ("infoprune.wire.codec import codecs", 'codecs.register("newcomer")'),
    "data set": ("infoprune.data.base import Facts, data_set", 'data_set("newcomer", Facts(classes=2, size=16))'),
    "model": ("infoprune.models.base import models", 'models.register("newcomer")'),
    "family": ("infoprune.families.base import families", 'families.register("newcomer")'),
    "operation of the tracer": ("infoprune.graph.rules.base import rule", 'rule("newcomer")'),
}


def table() -> dict[str, list[str]]:
    """kind -> the other cells of its row in CONTRIBUTING.md."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    rows = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:2] == "| "]
    return {kind: cells for kind, *cells in rows[1:]}


def registering(path: Path) -> bool:
    """Whether the file files something under a name as it is imported."""
    decorators = [d for n in ast.walk(ast.parse(path.read_text())) for d in getattr(n, "decorator_list", ())]
    called = [d.func for d in decorators if isinstance(d, ast.Call)]
    return any(getattr(c, "attr", getattr(c, "id", "")) in REGISTERING for c in called)


def list_of(name: str) -> str:
    return name.rpartition(".")[0]


IMPORTS = graph_of(modules())
MODULES = {name: path for name, path in modules().items() if SOURCE in path.parents and path.name != "__init__.py"}
FILING = sorted(name for name, path in MODULES.items() if registering(path))


def test_files_that_register_are_found():
    assert {"infoprune.surgery.channels", "infoprune.graph.rules.recurrence", "infoprune.data.digits"} <= set(FILING)
    assert len(FILING) > 40


@pytest.mark.parametrize("name", FILING)
def test_what_a_file_registers_is_there_once_its_package_is_imported(name):
    assert name in reached(IMPORTS, list_of(name)), f"add {name} to the list of {list_of(name)}"


def test_the_table_names_every_kind_and_what_is_there():
    rows = table()
    assert rows.keys() == HOMES.keys()
    for file, listed, suite, group in rows.values():
        assert (SOURCE / file).parent == (SOURCE / listed).parent
        assert (SOURCE / listed).is_file()
        assert (ROOT / suite).exists()
        assert not group or re.fullmatch(r"infoprune\.\w+", group)


@pytest.fixture(name="grown", scope="module")
def package_with_one_of_each(tmp_path_factory):
    """A copy of the source with a newcomer of every kind, put where the table says."""
    source = tmp_path_factory.mktemp("grown") / "infoprune"
    shutil.copytree(SOURCE, source, ignore=shutil.ignore_patterns("__pycache__"))
    for kind, (file, listed, *_) in table().items():
        where, decorator = FILED_BY[kind]
        newcomer = f'"""New."""\n\nfrom {where}\n\n\n@{decorator}\ndef newcomer(*_, **__):\n    """New."""\n'
        (source / file).write_text(newcomer)
        module = ".".join(("infoprune", *Path(file).with_suffix("").parts))
        with (source / listed).open("a") as lines:
            lines.write(f"from {module} import newcomer as {Path(file).stem}_of_theirs\n")
    return source.parent


def test_one_file_and_one_line_are_enough(grown):
    asked = [f"import {module}; found = 'newcomer' in {module}.{name}; assert found, {kind!r}"
             for kind, (module, name) in HOMES.items()]  # fmt: skip
    script = "\n".join([*asked, "import infoprune; print(infoprune.__file__)"])
    done = python("-c", script, env={"PYTHONPATH": str(grown)})
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(grown))


def test_groups_of_entry_points_are_those_of_the_registries():
    for kind, (module, name) in HOMES.items():
        registry = getattr(__import__(module, fromlist=[name]), name)
        assert table()[kind][3] == getattr(registry, "group", "")


def test_the_fast_selection_names_files_that_are_there():
    from tests import conftest

    assert all((ROOT / "tests" / name).is_file() for name in conftest.FAST)
