"""Whether a network has been trained, as far as its norm layers tell."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

log = logging.getLogger("infoprune")
_known: ContextVar[bool] = ContextVar("known to be untrained", default=False)


@contextmanager
def known_to_be_untrained() -> Iterator[None]:
    """Nothing is said in here: what is planned is a rehearsal."""
    token = _known.set(True)
    try:
        yield
    finally:
        _known.reset(token)


def tell_if_untrained(model: nn.Module) -> None:
    """One line to the log where ranks would be drawn by lot."""
    if not _known.get() and looks_untrained(model):
        log.warning(
            "the network looks untrained (its norm layers are as they are made), so that ranks of its units mean "
            "nothing; load trained weights first (--pretrained or --weights FILE)"
        )


def looks_untrained(model: nn.Module) -> bool:
    """Whether there are norm layers, and no step of training or no data has changed any of them."""
    states = [fresh for layer in model.modules() if (fresh := _as_made(layer)) is not None]
    return bool(states) and all(states)


def _as_made(layer: nn.Module) -> bool | None:
    if isinstance(layer, _BatchNorm) and layer.running_mean is not None and layer.running_var is not None:
        return not layer.running_mean.any() and bool((layer.running_var == 1).all())
    if isinstance(layer, nn.LayerNorm | nn.GroupNorm) and layer.weight is not None:
        return bool((layer.weight == 1).all()) and (layer.bias is None or not layer.bias.any())
    return None
