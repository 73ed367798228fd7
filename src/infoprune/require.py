"""Whether a model is one, asked at every public door."""

from __future__ import annotations

from torch import nn


def require_model(model: object, name: str = "model") -> None:
    """TypeError says what was given instead, and what to do."""
    if isinstance(model, nn.Module):
        return
    if isinstance(model, type) and issubclass(model, nn.Module):
        raise TypeError(f"{name} is the class {model.__name__}; call it to make one: {model.__name__}(...)")
    if isinstance(model, str):
        raise TypeError(f"{name} is the text {model!r:.60}; build the network first, as with timm.create_model(...)")
    if type(model).__name__ == "ExportedProgram":
        raise TypeError(f"{name} is an ExportedProgram; prune what was exported, then export again")
    raise TypeError(f"{name} is {_told(model)}; give a torch.nn.Module")


def _told(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"
