"""Every name that the library offers: what the packages below re-export, and what their plain modules define."""

import ast
import importlib
import inspect
from pathlib import Path
from types import ModuleType

import infoprune

# Their `__init__.py` lists what they offer.
PACKAGES = (
    "allocation", "artifact", "budgets", "compensation", "data", "depth", "estimators.mutual_information", "families",
    "finetune", "graph", "importance", "integrations", "integrations.timm", "integrations.transformers", "layerwise",
    "models", "observe", "planning", "recipe", "split", "surgery", "tokens", "wire",
)  # fmt: skip
# All that they define and do not hide.
MODULES = (
    "errors", "estimators.covariance", "estimators.distances", "estimators.elimination", "estimators.energy",
    "estimators.entropy", "estimators.hsic", "estimators.kmeans", "estimators.moments", "estimators.tokens",
    "integrations.lightning", "report.depth", "report.family", "report.plots", "report.split",
)  # fmt: skip


def re_exported(module: ModuleType) -> list[str]:
    """Names that `__init__.py` imports to offer (`import x as x`, or `__all__`), and what it defines itself."""
    tree = ast.parse(Path(inspect.getfile(module)).read_text(encoding="utf-8"))
    told = [alias.asname for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    own = [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    return [name for name in (*getattr(module, "__all__", ()), *told, *own) if name and not name.startswith("_")]


def defined(module: ModuleType) -> list[str]:
    """Functions and classes whose home is this module."""
    made = {name: value for name, value in vars(module).items() if inspect.isclass(value) or inspect.isfunction(value)}
    return [name for name, value in made.items() if value.__module__ == module.__name__ and not name.startswith("_")]


def public_names() -> dict[str, object]:
    """Path -> what it names, of all public names; what has several is there several times."""
    found = {f"infoprune.{name}": getattr(infoprune, name) for name in dir(infoprune) if not name.startswith("_")}
    for listed, names_of in ((PACKAGES, re_exported), (MODULES, defined)):
        for part in listed:
            module = importlib.import_module(f"infoprune.{part}")
            found |= {f"{module.__name__}.{name}": getattr(module, name) for name in names_of(module)}
    return {path: value for path, value in found.items() if not isinstance(value, ModuleType)}
