"""What other libraries look for in a config.json, so that they find models of ours where they find theirs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from infoprune.artifact import hugging_face
from infoprune.artifact.architecture import Architecture

# How pictures become inputs, and where the head is: fields that timm has had since 1.0.
TIMM_FIELDS = (
    "architecture", "num_classes", "input_size", "test_input_size", "min_input_size", "fixed_input_size", "pool_size",
    "interpolation", "crop_pct", "test_crop_pct", "crop_mode", "mean", "std", "first_conv", "classifier", "license",
)  # fmt: skip


def hub_fields(architecture: Architecture, model: nn.Module) -> dict[str, Any]:
    """The outer fields of config.json. `load` reads none of them."""
    if architecture.source == "timm":
        return {**timm_fields(architecture, model), "architecture": "infoprune"}
    if architecture.source == "transformers":
        return hugging_face.hub_fields(architecture.name, architecture.arguments)
    return {}


def timm_fields(architecture: Architecture, model: nn.Module) -> dict[str, Any]:
    """timm's own layout; in our artefacts loaders find the architecture `infoprune`, which builds the pruned one."""
    original = getattr(model, "pretrained_cfg", None)
    about = {key: value for key, value in dict(original or {}).items() if key in TIMM_FIELDS}
    classes = getattr(model, "num_classes", None)
    known = {"num_classes": classes} if isinstance(classes, int) else {}
    about.update(known, architecture=architecture.name)
    return {**known, "pretrained_cfg": _plain(about)}


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
