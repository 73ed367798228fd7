"""The direction of imports: a module imports from lines below its own only."""

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
    ("planning",),
    ("refining",),
    ("measure", "timing", "compensation"),
    ("importance", "layerwise", "budgets", "surgery"),
    ("observe", "families", "wire"),
    ("graph",),
    ("estimators", "allocation", "models", "data"),
    ("registry",),
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
