"""A network of the user's own: a class or a function in a Python file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from infoprune.errors import BadOwnCode
from infoprune.own_code import called, named_in, taken


def own_network(file: Path, name: str, options: Mapping[str, Any], *, classes: int | None = None) -> nn.Module:
    """What `name` in a Python file makes.

    Args:
        file: The file, which is run.
        name: A function or a class that it defines.
        options: Its arguments.
        classes: Given to it as num_classes where it takes that.
    """
    make, where = named_in(file, name), f"{file.name}:{name}"
    if isinstance(make, nn.Module):
        raise BadOwnCode(f"{where} is a network that is made already; name the class or a function that makes one")
    if not callable(make):
        raise BadOwnCode(f"{where} is a {type(make).__name__}; name a class or a function that makes a network")
    offered = {} if classes is None or "num_classes" not in taken(make) else {"num_classes": classes}
    model = called(make, where, {**offered, **options})
    if not isinstance(model, nn.Module):
        raise BadOwnCode(f"{where} makes a {type(model).__name__}; it must make a torch.nn.Module")
    return model
