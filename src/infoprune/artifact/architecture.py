"""Which registered builder makes the dense model, found by building it and comparing, and built again on loading."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import type_before_parametrizations as _kind
from torch.overrides import TorchFunctionMode

from infoprune.artifact import hugging_face
from infoprune.errors import BadArtifact
from infoprune.graph.wrappers import bare
from infoprune.models import models
from infoprune.surgery.stand_ins import Replacement

Source = Literal["timm", "torchvision", "transformers", "infoprune", "factory"]
Shapes = Mapping[str, torch.Size]


@dataclass(frozen=True)
class Architecture:
    """A builder's name in its registry with its arguments; a `factory` is known to the user alone."""

    source: Source
    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def build(self, factory: Callable[[], nn.Module] | None = None) -> nn.Module:
        """The dense model with weights of no meaning, on the current default device."""
        if factory is not None:
            model = factory()
            return bare(model) if isinstance(model, nn.Module) else model
        if self.source == "timm":
            import timm

            return timm.create_model(self.name, pretrained=False, **self.arguments)
        if self.source == "torchvision":
            return _torchvision_model(self.name, self.arguments)
        if self.source == "transformers":
            return hugging_face.build(self.name, self.arguments)
        if self.source == "infoprune":
            return models[self.name](**self.arguments)
        raise BadArtifact(
            f"this artefact was made from {self.name}, which no registry builds; pass load(directory, factory=...) "
            "with a function that builds the dense model"
        )

    def call(self, directory: object) -> str:
        """The call of `load` that brings the artefact back, as code."""
        if self.source != "factory":
            return f'infoprune.load("{directory}")'
        return f'infoprune.load("{directory}", factory=...)  # a function that builds the dense {self.name}'


def _torchvision_model(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Detectors and segmenters fetch the weights of their backbone unless told not to."""
    import torchvision

    takes = inspect.signature(torchvision.models.get_model_builder(name)).parameters
    nothing = {"weights_backbone": None} if "weights_backbone" in takes else {}
    return torchvision.models.get_model(name, weights=None, **nothing, **arguments)


def check_architecture(architecture: Architecture) -> None:
    """Only names that a registry lists, so that a file can't make anything else be built or fetched."""
    if architecture.source == "timm":
        known = hugging_face.is_timm_name(architecture.name)
    elif architecture.source == "torchvision":
        import torchvision

        known = architecture.name in torchvision.models.list_models()
    elif architecture.source == "transformers":
        hugging_face.check(architecture.name, architecture.arguments)
        known = True
    elif architecture.source == "infoprune":
        known = architecture.name in models
    else:
        known = True
    if not known:
        raise BadArtifact(
            f"{architecture.source} lists no model {architecture.name!r:.80}; update it, or pass factory="
        )


def identify(model: nn.Module, dense: Shapes, replaced: Collection[str] = ()) -> Architecture:
    """The architecture whose freshly built tensors have exactly the shapes `dense`; a `factory` where none has.

    Of the modules `replaced` the model no longer tells the class.
    """
    for candidate in candidates(model, dense):
        built = tried(candidate.build)
        if built is not None and shapes_of(built) == dense and same_modules(built, model, replaced):
            return candidate
    return custom(model)


def custom(model: nn.Module) -> Architecture:
    """A class that no registry builds."""
    return Architecture("factory", f"{type(model).__module__}.{type(model).__qualname__}")


def tried(build: Callable[[], nn.Module]) -> nn.Module | None:
    """Built without memory if its code allows that: all on "meta", then the weights alone, then in full."""
    for place in (torch.device("meta"), _WeightsOnMeta(), torch.device("cpu")):
        try:
            with place, _unchanged_random_state():
                return build()
        except Exception:  # arguments that this builder does not take, or arithmetic that meta tensors lack
            continue
    return None


class _WeightsOnMeta(TorchFunctionMode):
    """Layers make their weights with torch.empty; widths that a builder computes with tensors stay real."""

    def __torch_function__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        placed = {**(kwargs or {}), "device": "meta"} if function is torch.empty else kwargs or {}
        return function(*args, **placed)


def shapes_of(model: nn.Module) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in model.state_dict().items() if isinstance(value, Tensor)}


def same_modules(built: nn.Module, model: nn.Module, replaced: Collection[str] = ()) -> bool:
    """Same classes under the same names wherever both have one: activations and the like carry no weights.

    Parts of a detector that hold no weights must be set alike: image sizes, anchors, thresholds.
    """
    ours = {name: m for name, m in model.named_modules() if name not in replaced and not isinstance(m, Replacement)}
    both = [(ours[name], m) for name, m in built.named_modules() if name in ours]
    return all(_kind(mine) is _kind(m) and _settings(mine) == _settings(m) for mine, m in both)


def _settings(module: nn.Module) -> dict[str, Any]:
    """The plain values that a detector's own parts keep."""
    if not type(module).__module__.startswith(("torchvision.models.detection", "infoprune.models.yolact")):
        return {}
    values = {name: value for name, value in vars(module).items() if not name.startswith("_") and name != "training"}
    return {name: value for name, value in values.items() if _is_plain(value)}


def _is_plain(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_plain(item) for item in value)
    return isinstance(value, int | float | str)


def candidates(model: nn.Module, dense: Shapes) -> Iterator[Architecture]:
    module = type(model).__module__
    if module.startswith("timm.") and (name := _timm_name(model)):
        yield from (Architecture("timm", name, arguments) for arguments in _timm_arguments(model))
    if module.startswith("transformers.") and (description := hugging_face.described(model)):
        yield Architecture("transformers", *description)
    if module.startswith("infoprune."):
        for name, builder in models.items():
            if builder.__module__ == module and builder.__annotations__.get("return") == type(model).__name__:
                yield from (Architecture("infoprune", name, a) for a in _class_counts(model, dense))
    if module.startswith("torchvision."):
        import torchvision

        names = [n for n in torchvision.models.list_models() if not n.startswith("quantized")]
        for name in names:
            if _makes(torchvision.models.get_model_builder(name), model):
                yield from (Architecture("torchvision", name, a) for a in _class_counts(model, dense))


def _makes(builder: Callable[..., Any], model: nn.Module) -> bool:
    """Builders stand beside the class that they make, or say so, as SSDLite's does."""
    beside = builder.__module__ == type(model).__module__
    return beside or inspect.signature(builder).return_annotation is type(model)


def _timm_name(model: nn.Module) -> str | None:
    config = getattr(model, "pretrained_cfg", None) or {}
    name = config.get("architecture") if isinstance(config, Mapping) else getattr(config, "architecture", None)
    return name if isinstance(name, str) else None


def _timm_arguments(model: nn.Module) -> Iterator[dict[str, Any]]:
    """What shapes depend on, as the model itself remembers it; fewer first."""
    arguments: dict[str, Any] = {}
    yield dict(arguments)
    if isinstance(classes := getattr(model, "num_classes", None), int):
        arguments["num_classes"] = classes
        yield dict(arguments)
    if isinstance(channels := _input_channels(model), int):
        yield {**arguments, "in_chans": channels}
    size = getattr(getattr(model, "patch_embed", None), "img_size", None)
    if isinstance(size, tuple) and all(isinstance(n, int) for n in size):
        yield {**arguments, "img_size": list(size)}
    if isinstance(channels, int) and isinstance(size, tuple):
        yield {**arguments, "img_size": list(size), "in_chans": channels}


def _input_channels(model: nn.Module) -> int | None:
    """What the model says, or its first convolution where older releases of timm say nothing."""
    first = next((m.in_channels for m in model.modules() if isinstance(m, nn.Conv2d)), None)
    return getattr(model, "in_chans", first)


def _class_counts(model: nn.Module, dense: Shapes) -> Iterator[dict[str, Any]]:
    """The default, what a part of the model calls its classes, and the entries of the last vector of the tensors."""
    yield {}
    last = next((int(shape[0]) for shape in reversed(list(shapes_of(model).values())) if len(shape) == 1), None)
    box = dense.get("roi_heads.box_predictor.cls_score.bias")
    counts = [vars(module).get("num_classes") for module in model.modules()]
    for count in dict.fromkeys([*counts, last if box is None else int(box[0])]):
        if isinstance(count, int):
            yield {"num_classes": count}


class _unchanged_random_state:
    """Building draws random weights; whoever draws next must not notice."""

    def __enter__(self) -> None:
        self.state = torch.get_rng_state()

    def __exit__(self, *_: object) -> None:
        torch.set_rng_state(self.state)
