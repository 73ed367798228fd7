"""The entry point `infoprune` of timm's registry: an artefact built by timm's code, pruned, filled."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import register_model
from torch import Tensor, nn

from infoprune.artifact import load, read_config
from infoprune.artifact.architecture import check_architecture
from infoprune.artifact.config import Config
from infoprune.artifact.hub import TIMM_FIELDS
from infoprune.artifact.layout import WEIGHTS
from infoprune.artifact.loading import pruned, read_weights
from infoprune.errors import BadArtifact

Timm = Any  # a network with what timm's have: reset_classifier, feature_info, pretrained_cfg


@register_model
def infoprune(
    pretrained: bool = False,
    *,
    directory: str | os.PathLike[str] | None = None,
    pretrained_cfg: Mapping[str, Any] | None = None,
    pretrained_cfg_overlay: Mapping[str, Any] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    features_only: bool = False,
    num_classes: int | None = None,
    in_chans: int | None = None,
    **kwargs: Any,
) -> nn.Module:
    """The network that `infoprune.save` wrote to `directory`, or to the folder that timm found by its own names.

    Args:
        pretrained: Load the weights of the artefact; without it they are new, as everywhere in timm.
        directory: Of the artefact.
        pretrained_cfg: What timm found out about it, such as the folder behind "local-dir:".
        pretrained_cfg_overlay: Fields that replace those of the artefact.
        cache_dir: Where timm keeps what it fetched.
        features_only: Give a backbone: the features of its stages in place of logits.
        num_classes: Another number of classes gets a new head.
        in_chans: Refused where it is not that of the artefact.
        **kwargs: Arguments of the dense network's builder, such as drop rates.
    """
    place = _folder(directory, dict(pretrained_cfg or {}), cache_dir)
    config = _timm_config(place)
    _refuse_channels(config, in_chans, place)
    _refuse_sources(pretrained_cfg_overlay)
    kwargs.pop("pretrained_model_args", None)
    if features_only:
        model: Timm = _features(place, config, pretrained, kwargs)
    else:
        model = _network(place, config, pretrained, kwargs)
        if num_classes not in (None, getattr(model, "num_classes", None)):
            model.reset_classifier(num_classes)
    _describe(model, place, dict(pretrained_cfg_overlay or {}))
    return model


# --------------------------------------------------------------------------------------------------- where it is


def _folder(directory: object, config: Mapping[str, Any], cache_dir: str | os.PathLike[str] | None) -> Path:
    """What was asked for by hand, or what timm made of local-dir: and hf-hub:."""
    if directory is not None:
        return Path(str(directory))
    if config.get("source") == "local-dir":
        return Path(config["file"])
    if config.get("hf_hub_id"):
        from huggingface_hub import snapshot_download

        name, _, revision = str(config["hf_hub_id"]).partition("@")
        wanted = ["config.json", "model.safetensors"]
        kept = None if cache_dir is None else Path(cache_dir)
        return Path(snapshot_download(name, revision=revision or None, allow_patterns=wanted, cache_dir=kept))
    raise ValueError(
        "timm's model infoprune needs an artefact; pass directory=, in scripts --model-kwargs directory=runs/r50, or "
        "name it as local-dir:runs/r50"
    )


def _timm_config(place: Path) -> Config:
    config = read_config(place)
    if config.architecture.source != "timm":
        raise BadArtifact(
            f"{place} holds {config.architecture.name}, which is none of timm's models; bring it back with "
            f"{config.architecture.call(place)}"
        )
    check_architecture(config.architecture)
    return config


def _refuse_channels(config: Config, in_chans: int | None, place: Path) -> None:
    has = config.architecture.arguments.get("in_chans", 3)
    if in_chans is not None and in_chans != has:
        raise ValueError(f"{place} takes {has} input channels, not {in_chans}; prune a network that takes {in_chans}")


def _refuse_sources(overlay: Mapping[str, Any] | None) -> None:
    named = [key for key in ("file", "url", "hf_hub_id") if (overlay or {}).get(key)]
    if named:
        raise ValueError(
            f"pretrained_cfg_overlay names weights ({named[0]}), and an artefact brings its own; pass them as "
            "checkpoint_path, in scripts --initial-checkpoint or --checkpoint"
        )


# ------------------------------------------------------------------------------------------------------- building


def _dense(config: Config, kwargs: Mapping[str, Any]) -> nn.Module:
    return timm.create_model(config.architecture.name, **{**config.architecture.arguments, **kwargs})


def _network(place: Path, config: Config, pretrained: bool, kwargs: Mapping[str, Any]) -> nn.Module:
    if pretrained and not kwargs:
        return load(place).train()
    model = pruned(_dense(config, kwargs), config)
    _fill(model, place, config, pretrained)
    return model


def _features(place: Path, config: Config, pretrained: bool, kwargs: Mapping[str, Any]) -> nn.Module:
    """timm's own wrapper for this architecture around the pruned network, with the widths that it gives."""
    kind = _wrapper(config, kwargs)

    class Pruned(kind):  # timm chooses a wrapper's settings by its class
        def __new__(cls, model: nn.Module, **settings: Any) -> nn.Module:
            _fill(pruned(model, config), place, config, pretrained)
            return kind(model, **settings)

    wrapped = _dense(config, {**kwargs, "features_only": True, "feature_cls": Pruned})
    _tell_features(wrapped, config)
    return wrapped


def _wrapper(config: Config, kwargs: Mapping[str, Any]) -> type:
    """The class by which timm takes features of this architecture; all its wrappers are dicts of modules.

    Where the architecture has a class of its own instead, as EfficientNet has, what asks `forward_intermediates`.
    """
    for asked in ({}, {"feature_cls": "getter"}):
        with torch.device("meta"):
            kind = type(_dense(config, {**kwargs, **asked, "features_only": True}))
        if issubclass(kind, nn.ModuleDict):
            return kind
    raise ValueError(
        f"timm takes features of {config.architecture.name} by a class of its own ({kind.__name__}), which can't be "
        "pruned; put hooks on the layers of the whole network"
    )


def _fill(model: nn.Module, place: Path, config: Config, pretrained: bool) -> None:
    if pretrained:
        model.load_state_dict(read_weights(place / WEIGHTS, config, model), strict=True)


def _tell_features(wrapped: Timm, config: Config) -> None:
    """feature_info says the dense widths; what one picture gives says the others."""
    if not config.plans:
        return
    shape = config.plans[0].inputs[0][0]
    device = next(wrapped.parameters()).device
    training = wrapped.training
    with torch.no_grad():
        output = wrapped.eval()(torch.zeros(1, *shape[1:], device=device))
    wrapped.train(training)
    maps: list[Tensor] = list(output.values()) if isinstance(output, dict) else list(output)
    last = str(getattr(wrapped, "output_fmt", "NCHW")).endswith(("NHWC", "NLC"))
    for index, features in zip(wrapped.feature_info.out_indices, maps, strict=True):
        wrapped.feature_info.info[index]["num_chs"] = features.shape[-1 if last else 1]


def _describe(model: Timm, place: Path, overlay: Mapping[str, Any]) -> None:
    """How pictures become inputs, as the network was saved with; the dense name stays, for saving again."""
    config = json.loads((place / "config.json").read_bytes()).get("pretrained_cfg")
    kept = {k: v for k, v in dict(config or {}, **overlay).items() if k in TIMM_FIELDS and k != "architecture"}
    own = {key: tuple(value) if isinstance(value, list) else value for key, value in kept.items()}
    classes = {"num_classes": model.num_classes} if isinstance(getattr(model, "num_classes", None), int) else {}
    model.pretrained_cfg = {**model.pretrained_cfg, **own, **classes}
    model.default_cfg = model.pretrained_cfg
