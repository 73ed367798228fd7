"""A pass: one way in which a model is run, on which arguments and in which mode."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from infoprune.graph.arguments import Arguments
from infoprune.graph.settled import evaluating, settled

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
        with _same_chance(model), learning(model) if self.training else settled(model, boxes=boxes):
            yield


@contextmanager
def _same_chance(model: nn.Module) -> Iterator[None]:
    """Whatever the model draws, two networks draw alike; the generators go on as if nothing had been drawn."""
    devices = {tensor.device.index for tensor in model.parameters() if tensor.is_cuda}
    states = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=sorted(devices)):
            torch.manual_seed(0)
            random.seed(0)
            np.random.seed(0)
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


@contextmanager
def learning(model: nn.Module) -> Iterator[None]:
    """Training mode that teaches nothing: norms keep their statistics, nothing is dropped, all states are put back."""
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        with evaluating(model), _NoChance():
            model.train()
            for norm in (m for m in model.modules() if isinstance(m, nn.modules.batchnorm._NormBase)):
                norm.eval()
            yield
    finally:
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)


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
