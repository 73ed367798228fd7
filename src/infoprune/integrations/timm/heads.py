"""Heads of pruned networks: their width is the pruned one, whatever the model's attributes say."""

from __future__ import annotations

from torch import nn


def tell_widths(model: nn.Module) -> None:
    """Correct `num_features` and `head_hidden_size`, from which timm's `reset_classifier` makes heads."""
    found = [width for head in _heads(model).values() if (width := _width(head)) is not None]
    if not found:
        return
    dense = getattr(model, "head_hidden_size", None)
    for name in ("num_features", "head_hidden_size"):
        if isinstance(dense, int) and vars(model).get(name) == dense:
            setattr(model, name, found[0])


def with_classes(model: nn.Module, num_classes: int) -> None:
    """New heads for another number of classes, as wide as the network is now; none for 0."""
    if getattr(model, "num_classes", None) == num_classes:
        return
    if num_classes == 0:
        model.reset_classifier(0)
        return
    for name, head in _heads(model).items():
        owner, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(owner), leaf, _new_head(head, num_classes, name))
        for module in (model, model.get_submodule(owner)):
            if isinstance(vars(module).get("num_classes"), int):
                module.num_classes = num_classes


def _heads(model: nn.Module) -> dict[str, nn.Module]:
    given = model.get_classifier()
    wanted = given if isinstance(given, tuple | list) else (given,)
    return {name: module for name, module in model.named_modules() if any(module is head for head in wanted)}


def _width(head: nn.Module) -> int | None:
    return (
        head.in_features if isinstance(head, nn.Linear) else head.in_channels if isinstance(head, nn.Conv2d) else None
    )


def _new_head(head: nn.Module, num_classes: int, name: str) -> nn.Module:
    like = {"device": next(head.parameters()).device, "dtype": next(head.parameters()).dtype}
    if isinstance(head, nn.Linear):
        return nn.Linear(head.in_features, num_classes, bias=head.bias is not None, **like)
    if isinstance(head, nn.Conv2d):
        return nn.Conv2d(head.in_channels, num_classes, head.kernel_size, bias=head.bias is not None, **like)
    raise ValueError(
        f"{name} is a {type(head).__name__}, for which another num_classes has no meaning here; replace it by hand"
    )
