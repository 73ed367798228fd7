"""A pass: one way in which a model is run, on which arguments and in which mode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from infoprune.graph.arguments import Arguments
from infoprune.graph.settled import as_it_was, evaluating, settled

aten = torch.ops.aten


@dataclass(frozen=True)
class Pass:
    """A call in evaluation mode, or in the mode that training uses."""

    inputs: Arguments
    training: bool = False

    @contextmanager
    def ready(self, model: nn.Module, *, boxes: int | None = None) -> Iterator[None]:
        """The model in this mode, with the same chance at every call; `boxes` caps those of a detector.

        Everything is put back afterwards.
        """
        with learning(model) if self.training else settled(model, boxes=boxes):
            yield


@contextmanager
def learning(model: nn.Module) -> Iterator[None]:
    """Training mode that teaches nothing: norms keep their statistics, nothing is dropped, all states are put back."""
    with evaluating(model), as_it_was(model), _NoChance():
        model.train()
        for norm in (m for m in model.modules() if isinstance(m, nn.modules.batchnorm._NormBase)):
            norm.eval()
        yield


class _NoChance(TorchDispatchMode):
    """Dropout keeps everything, so that two networks can be compared."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        packet = func.overloadpacket
        if packet is aten.native_dropout:
            return args[0].clone(), torch.ones_like(args[0], dtype=torch.bool)
        if packet is aten.bernoulli_:
            return args[0].fill_(1)
        if packet is aten.bernoulli:
            return torch.ones_like(args[0])
        return func(*args, **(kwargs or {}))
