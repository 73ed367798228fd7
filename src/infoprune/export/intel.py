"""OpenVINO and NNCF, imported without the package that reports their use."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

REPORTER = "openvino_telemetry"  # both do without where it is not installed


def openvino() -> ModuleType:
    with _unreported():
        import openvino
    return openvino


def nncf() -> ModuleType:
    with _unreported():
        import nncf
    return nncf


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
