"""A model from its name on the command line, and inputs that it takes."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn

from infoprune.errors import BadArtifact, UnknownName
from infoprune.registry import nearest


def build_model(arguments: argparse.Namespace) -> nn.Module:
    """timm's or torchvision's model of that name ("timm:" or "torchvision:" before it settles which)."""
    source, _, name = arguments.model.rpartition(":")
    extra = {} if arguments.num_classes is None else {"num_classes": arguments.num_classes}
    torch.manual_seed(0)
    if source in ("", "timm") and _in_timm(name):
        import timm

        model = timm.create_model(name, pretrained=arguments.pretrained, **extra)
    elif source in ("", "torchvision") and name in _torchvision_names():
        import torchvision

        weights = "DEFAULT" if arguments.pretrained else None
        model = torchvision.models.get_model(name, weights=weights, **extra)
    else:
        raise UnknownName(
            f"neither timm nor torchvision has a model {arguments.model!r}; {nearest(name, _all_names())}"
        )
    if arguments.weights:
        _load_weights(model, arguments.weights)
    return model.eval()


def example_input(model: nn.Module, shape: str | None) -> Tensor:
    """One random image of the size that the model was made for, or of the given shape ("1x3x224x224")."""
    config = getattr(model, "pretrained_cfg", None) or {}
    size = (1, *config["input_size"]) if config.get("input_size") else (1, 3, 224, 224)
    if shape:
        size = tuple(int(n) for n in shape.split("x"))
    return torch.randn(size, generator=torch.Generator().manual_seed(0))


def _load_weights(model: nn.Module, path: Path) -> None:
    """A safetensors file, or a checkpoint of plain tensors; code in it is never run."""
    from safetensors.torch import load_file

    try:
        state = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
        model.load_state_dict(state.get("state_dict", state))
    except Exception as error:
        raise BadArtifact(f"{path} does not hold this model's weights ({str(error).splitlines()[0]})") from error


def _in_timm(name: str) -> bool:
    import timm

    return timm.is_model(name.split(".")[0])


def _torchvision_names() -> list[str]:
    import torchvision

    return torchvision.models.list_models()


def _all_names() -> list[str]:
    import timm

    return [*timm.list_models(), *_torchvision_names()]
