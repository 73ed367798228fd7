"""What is installed, and what is known not to work together."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from infoprune.errors import first_line

NEEDED = {
    "torch": (2, 6),
    "torchvision": (0, 21),
    "torch-pruning": (1, 6),
    "timm": (1, 0, 16),
    "cvxpy": (1, 6),
    "scipy": (1, 13),
    "numpy": (1, 26),
    "scikit-learn": (1, 4),
    "safetensors": (0, 4, 3),
}
OPTIONAL = {
    "matplotlib": "report", "av": "hevc", "onnxruntime": "export", "pycocotools": "coco", "tensorboard": "tensorboard",
    "openvino": "openvino", "nncf": "nncf",
}  # fmt: skip


@dataclass(frozen=True)
class Check:
    """One thing that was looked at; `remedy` says what to do when it is not fine."""

    name: str
    found: str
    fine: bool
    remedy: str = ""


def diagnose() -> list[Check]:
    return [*map(_installed, NEEDED), _torchvision_fits(), _torch_pruning_below_2(), *map(_extra, OPTIONAL)]


def _installed(name: str) -> Check:
    version = _version(name)
    least = ".".join(map(str, NEEDED[name]))
    remedy = f"pip install '{name}>={least}'"
    if version is None:
        return Check(name, "absent", False, remedy)
    return Check(name, version, _numbers(version) >= NEEDED[name], remedy)


def _torchvision_fits() -> Check:
    """A torchvision built for another torch (CPU beside CUDA is the common case) fails when its operators load."""
    pair = f"torch {_version('torch')} with torchvision {_version('torchvision')}"
    remedy = "install both from one index: pip install --force-reinstall torch torchvision"
    try:
        importlib.import_module("torchvision.ops").nms  # noqa: B018
        importlib.import_module("timm")
    except Exception as error:
        return Check("torch pair", f"{pair}: {type(error).__name__}: {first_line(error)[:100]}", False, remedy)
    return Check("torch pair", pair, True)


def _torch_pruning_below_2() -> Check:
    version = _version("torch-pruning") or "0"
    return Check(
        "host contract", f"torch-pruning {version}", _numbers(version) < (2,), "pip install 'torch-pruning>=1.6,<2'"
    )


def _extra(name: str) -> Check:
    version = _version(name)
    return Check(name, version or f"absent (optional: pip install 'infoprune[{OPTIONAL[name]}]')", True)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _numbers(text: str) -> tuple[int, ...]:
    parts = text.split("+")[0].split(".")
    return tuple(int("".join(c for c in part if c.isdigit()) or 0) for part in parts[:3])
