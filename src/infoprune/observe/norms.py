"""Batch norms with running statistics: which they are, and their statistics estimated anew."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

Norm = Any  # a batch norm with running statistics; type checkers take those for optional


def tracking_norms(model: nn.Module) -> dict[str, Norm]:
    """The batch norms with running statistics, by name."""
    return {
        name: m
        for name, m in model.named_modules()
        if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.running_mean is not None
    }


@torch.no_grad()
def reestimate_(model: nn.Module, images: Iterable[Any], forward: Callable[[Any], Any] | None = None) -> nn.Module:
    """Set the running statistics of all batch norms to their plain means over the batches, in place.

    Right for pictures like those that the model was trained on; `agreement_when_renewed` tells. Every other module is
    in evaluation mode meanwhile; modes and momenta are restored.
    """
    norms = list(tracking_norms(model).values())
    if not norms:
        return model
    modes = [(m, m.training) for m in model.modules()]
    momenta = [norm.momentum for norm in norms]
    model.eval()
    try:
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None
            norm.train()
        for batch in images:
            (forward or model)(batch)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for module, training in modes:
            module.training = training
    return model
