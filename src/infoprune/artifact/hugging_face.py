"""Networks of the transformers package as a name from its own lists and a plain config, in and out of files."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from torch import nn

from infoprune.errors import BadArtifact, MissingExtra

# Who made the file, where it lay and what else to run or fetch: no part of an architecture.
LEFT_OUT = {
    "architectures", "attn_implementation", "auto_map", "backbone", "backbone_config", "custom_pipelines", "digest",
    "dtype", "experts_implementation", "infoprune", "model_type", "name_or_path", "quantization_config", "torch_dtype",
    "transformers_version", "use_pretrained_backbone", "use_timm_backbone",
}  # fmt: skip
LARGEST, MOST_LAYERS, DEEPEST = 1 << 20, 1000, 6


def package() -> Any:
    try:
        return import_module("transformers")
    except ModuleNotFoundError as error:
        if error.name != "transformers":
            raise
        raise MissingExtra("transformers is not installed; pip install 'infoprune[transformers]'") from error


def described(model: nn.Module) -> tuple[str, dict[str, Any]] | None:
    """The model's class and its arguments; None where the package's own lists don't have it.

    The dense config is told, also where a pruned one has taken its place.
    """
    config, name = getattr(model, "config", None), type(model).__name__
    record = getattr(config, "infoprune", None)
    pruned = isinstance(record, Mapping)
    kind = record["architecture"]["arguments"]["model_type"] if pruned else getattr(type(config), "model_type", None)
    if config is None or not listed(kind, name):
        return None
    return name, {"model_type": kind, "config": plain(json.loads(config.to_json_string(use_diff=False)))}


def plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """What an architecture consists of: no private values, nothing that names code, places or weights to fetch."""
    own = {key: value for key, value in config.items() if key not in LEFT_OUT and not key.startswith("_")}
    backbone = config.get("backbone_config")
    return {**own, "backbone_config": _backbone(backbone)} if isinstance(backbone, Mapping) else own


def _backbone(config: Mapping[str, Any]) -> dict[str, Any]:
    """The network in front of a detector or segmenter: its own config says what it is, also where timm builds it."""
    keys = {key: config[key] for key in ("model_type", "backbone") if config.get(key) is not None}
    return {**plain(config), **keys, **({"use_pretrained_backbone": False} if "backbone" in keys else {})}


def listed(model_type: object, name: object) -> bool:
    """Whether the package files this class under this type of model, in any of its lists."""
    lists = vars(import_module(f"{package().__name__}.models.auto.modeling_auto"))
    for key, names in lists.items():
        if key.endswith("MAPPING_NAMES") and isinstance(names, Mapping) and isinstance(model_type, str):
            classes = names.get(model_type)
            if name in (classes if isinstance(classes, list | tuple) else (classes,)):
                return isinstance(name, str)
    return False


def check(name: str, arguments: Mapping[str, Any]) -> None:
    """Only classes and sizes that the package could have built, so that a file can't make anything else be run."""
    if not listed(arguments.get("model_type"), name):
        raise BadArtifact(f"transformers lists no {name!r:.80} of type {arguments.get('model_type')!r:.80}; update it")
    check_values(arguments.get("config"))


def check_values(value: Any, name: str = "config", depth: int = 0) -> None:
    if depth > DEEPEST:
        raise BadArtifact(f"{name!r:.60} is nested deeper than {DEEPEST} levels; no config of transformers is")
    if isinstance(value, Mapping):
        _check_names(value)
        for key, inner in value.items():
            check_values(inner, str(key), depth + 1)
    elif isinstance(value, list):
        for inner in value:
            check_values(inner, name, depth + 1)
    elif isinstance(value, int) and abs(value) > (MOST_LAYERS if "layers" in name or "depth" in name else LARGEST):
        raise BadArtifact(f"{name!r:.60} is {value}, more than any network that is built here")
    elif depth == 0:
        raise BadArtifact(f"the config is {value!r:.40}; transformers has mappings there")


def _check_names(config: Mapping[str, Any]) -> None:
    """Networks inside a network are built by timm's own names, and their weights are not fetched."""
    for key in ("backbone", "architecture"):
        named = config.get(key)
        if named is not None and not (isinstance(named, str) and is_timm_name(named)):
            raise BadArtifact(f"{key!r} is {named!r:.80}, which timm lists no model of; update it")
    for key in ("use_pretrained_backbone", "pretrained"):
        if config.get(key):
            raise BadArtifact(f"{key!r} is {config[key]!r:.40}; no weights are fetched on the word of a file")


def is_timm_name(name: str) -> bool:
    """A name that timm lists, and no place from which it would fetch something."""
    if not re.fullmatch(r"[a-z0-9_]{1,128}", name):
        return False
    return bool(import_module("timm").is_model(name))


def dense_class(name: str) -> type:
    return getattr(package(), name)


def dense_config(arguments: Mapping[str, Any]) -> Any:
    auto = import_module("transformers.models.auto.configuration_auto")
    return auto.CONFIG_MAPPING[arguments["model_type"]](**plain(arguments["config"]))


def build(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """The dense network with weights of no meaning, on the current default device."""
    return dense_class(name)(dense_config(arguments))


def hub_fields(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What AutoConfig reads: a type of its own, which `infoprune.integrations.transformers` knows."""
    return {"model_type": "infoprune", "architectures": [name], **arguments["config"]}
