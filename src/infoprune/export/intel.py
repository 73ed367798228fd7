"""OpenVINO and NNCF, imported without the package that reports their use."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType

REPORTER = "openvino_telemetry"  # both do without where it is not installed


def openvino() -> ModuleType:
    with _unreported():
        return import_module("openvino")


def nncf() -> ModuleType:
    with _unreported():
        return import_module("nncf")


@contextmanager
def _unreported() -> Iterator[None]:
    """Whoever imports either first without us keeps what that import did."""
    before = sys.modules.get(REPORTER)
    sys.modules[REPORTER] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[REPORTER]
        if before is not None:
            sys.modules[REPORTER] = before
