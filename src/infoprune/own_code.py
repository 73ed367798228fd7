"""Code of the user's own, found by a file and a name in it. Only what somebody named is ever run."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from infoprune.errors import BadOwnCode, first_line
from infoprune.registry import nearest


def file_and_name(text: str) -> tuple[Path, str] | None:
    """What "net.py:Net" names; None for a text that speaks of no Python file.

    >>> file_and_name("net.py:Net")
    (PosixPath('net.py'), 'Net')
    >>> file_and_name("timm:resnet18")
    """
    if text.endswith(".py"):
        raise BadOwnCode(f"{text} is a file; name what is meant in it: {text}:NAME")
    file, _, name = text.rpartition(":")
    return (Path(file), name) if file.endswith(".py") else None


def named_in(file: Path, name: str) -> Any:
    """What `name` is in the file, which is run once; its folder comes first on the path, as a script's does."""
    names = vars(_module(file.resolve()))
    if name not in names:
        own = [known for known, value in names.items() if getattr(value, "__module__", None) == names["__name__"]]
        raise BadOwnCode(f"{file} has no {name!r}; {nearest(name, own)}")
    return names[name]


def called(make: Callable[..., Any], where: str, arguments: Mapping[str, Any]) -> Any:
    """make(**given); arguments that it does not take are told by name, and its own errors with their kind."""
    try:
        inspect.signature(make).bind(**arguments)
    except TypeError as error:
        raise BadOwnCode(
            f"{where}({', '.join(arguments)}): {error}; it takes {', '.join(taken(make)) or 'nothing'}"
        ) from error
    try:
        return make(**arguments)
    except Exception as error:  # somebody else's code fails in its own way
        raise BadOwnCode(
            f"{where} failed ({type(error).__name__}: {first_line(error)}); correct it or its options"
        ) from error


def taken(make: Callable[..., Any]) -> list[str]:
    """The names of the arguments that a function or class takes."""
    parameters = inspect.signature(make).parameters.values()
    return [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]


def _module(file: Path) -> ModuleType:
    """The file as a module under its own name, unless another module has that."""
    if not file.is_file():
        raise BadOwnCode(f"there is no file {file}; give the path of the Python file")
    for name in (file.stem, f"{file.stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:8]}"):
        held = sys.modules.get(name)
        if held is None:
            return _run(file, name)
        if getattr(held, "__file__", None) == str(file):
            return held
    raise BadOwnCode(f"the name {file.stem} is taken by another module; rename {file}")


def _run(file: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if str(file.parent) not in sys.path:
        sys.path.insert(0, str(file.parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise BadOwnCode(f"{file} cannot be run ({type(error).__name__}: {first_line(error)}); correct it") from error
    return module
