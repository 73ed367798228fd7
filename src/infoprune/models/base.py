"""Where models are filed by name, and what they were made for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from infoprune.registry import Registry

models = Registry("model")
Builder = TypeVar("Builder", bound=Callable[..., Any])
_SHAPES: dict[Callable[..., Any], tuple[int, int, int]] = {}


def made_for(*shape: int) -> Callable[[Builder], Builder]:
    """Decorator: the shape of one picture, channels first, that the models of a builder were made for."""

    def note(builder: Builder) -> Builder:
        _SHAPES[builder] = (shape[0], shape[1], shape[2])
        return builder

    return note


def shape_for(name: str) -> tuple[int, int, int] | None:
    """The shape of one picture that the model of that name was made for; None where nothing was said of it."""
    return _SHAPES.get(models[name])
