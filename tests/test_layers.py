"""The direction of imports: from lines below one's own only, in no circle of files, and of no private name."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "infoprune"

# Packages on one line don't know each other.
LAYERS = (
    ("__main__",),
    ("cli",),
    ("recipe",),
    ("report", "integrations"),
    ("artifact", "depth", "export", "finetune", "split", "tokens"),
    ("family",),
    ("planning",),
    ("refining",),
    ("measure", "compensation"),
    ("importance", "layerwise", "budgets", "surgery"),
    ("observe", "families", "wire", "timing"),
    ("graph",),
    ("estimators", "allocation", "models", "data"),
    ("own_code",),
    ("typed",),
    ("registry", "files", "require", "progress", "processes"),
    ("deprecated",),
    ("errors",),
)
LEVEL = {name: len(LAYERS) - i for i, names in enumerate(LAYERS) for name in names}


def part_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """The parts of infoprune that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "infoprune":
            names = [node.module] if node.module != "infoprune" else [f"infoprune.{a.name}" for a in node.names]
            found.update(name.split(".")[1] for name in names)
        elif isinstance(node, ast.Import):
            found.update(a.name.split(".")[1] for a in node.names if a.name.startswith("infoprune."))
    return found


FILES = [p for p in sorted(SOURCE.rglob("*.py")) if p != SOURCE / "__init__.py"]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_point_down(path):
    here = part_of(path)
    assert here in LEVEL, f"{here} has no place in LAYERS; give it one"
    upward = {name for name in imported(path) if name != here and LEVEL[name] >= LEVEL[here]}
    assert not upward, f"{here} imports {sorted(upward)} from its own line or above"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_are_absolute_and_nothing_is_starred(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0
            assert all(alias.name != "*" for alias in node.names)


def test_estimators_and_allocation_know_neither_timm_nor_torch_pruning():
    for path in [*SOURCE.glob("estimators/*.py"), *SOURCE.glob("allocation/*.py")]:
        text = path.read_text()
        assert "import timm" not in text
        assert "torch_pruning" not in text


# ------------------------------------------------------------------------------------------------- circles of files

BENCHMARKS = SOURCE.parents[1] / "benchmarks"
KNOWN_PRIVATE = {  # the benchmark times parts of one pass
    ("split_speed", "infoprune.observe.tasks._Counting"),
    ("split_speed", "infoprune.observe.tasks._Taps"),
}


def modules() -> dict[str, Path]:
    """Every file under the name that it is imported by."""
    inside = {".".join(("infoprune", *p.relative_to(SOURCE).with_suffix("").parts)): p for p in SOURCE.rglob("*.py")}
    found = {name.removesuffix(".__init__"): path for name, path in inside.items()}
    return found | {path.stem: path for path in BENCHMARKS.glob("*.py")}


def names_imported(path: Path) -> list[tuple[str, str]]:
    """(module, name) of every `from module import name` and (module, "") of every `import module`."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found += [(node.module, alias.name) for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [(alias.name, "") for alias in node.names]
    return found


def graph_of(files: dict[str, Path]) -> dict[str, set[str]]:
    """module -> the modules whose files it names."""

    def named(path: Path) -> set[str]:
        return {f"{m}.{n}" if f"{m}.{n}" in files else m for m, n in names_imported(path)}

    return {name: (named(path) & files.keys()) - {name} for name, path in files.items()}


def reached(graph: dict[str, set[str]], start: str) -> set[str]:
    found, left = set(), [start]
    while left:
        new = graph[left.pop()] - found
        found |= new
        left += new
    return found


def circles_in(graph: dict[str, set[str]]) -> set[frozenset[str]]:
    """Files from which there is a way back to themselves, with those that the way leads through."""
    reach = {name: reached(graph, name) for name in graph}
    return {frozenset(n for n in reach[name] if name in reach[n]) for name in graph if name in reach[name]}


def test_a_circle_is_found():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set()}
    assert circles_in(graph) == {frozenset("bc")}


def test_files_import_each_other_in_no_circle():
    assert circles_in(graph_of(modules())) == set()


def test_nothing_private_is_imported_from_another_file():
    files = modules()
    private = {
        (name, f"{module}.{imported}")
        for name, path in files.items()
        for module, imported in names_imported(path)
        if imported.startswith("_") and not imported.startswith("__") and module in files
    }
    assert private == KNOWN_PRIVATE
