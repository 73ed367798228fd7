"""A pass over data leaves the model, its place and the random number generators as they were."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from torch import nn

from infoprune.errors import UnusableData, first_line
from infoprune.graph.evaluating import evaluating, uncompiled


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, no gradients; modes and random number generators as before afterwards."""
    with ExitStack() as stack:
        stack.enter_context(kept_randomness())
        stack.enter_context(evaluating(model))
        stack.enter_context(uncompiled(model))
        stack.enter_context(torch.no_grad())
        yield


@contextmanager
def kept_randomness() -> Iterator[None]:
    """The global generators of torch, numpy and Python are afterwards where they were."""
    state, legacy = random.getstate(), np.random.get_state()
    cuda = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(cuda):
        try:
            yield
        finally:
            random.setstate(state)
            np.random.set_state(legacy)


@contextmanager
def placed_on(model: nn.Module, device: torch.device | str | None) -> Iterator[torch.device]:
    """The model on `device` for a while; without one, where it is."""
    tensor = next((t for t in [*model.parameters(), *model.buffers()]), None)
    home = torch.device("cpu") if tensor is None else tensor.device
    place = home if device is None else present(device)
    if place == home:
        yield place
        return
    try:
        yield _moved(model, place)
    finally:
        model.to(home)


def _moved(model: nn.Module, place: torch.device) -> torch.device:
    model.to(place)
    return place


def present(device: torch.device | str) -> torch.device:
    """The device, or `UnusableData` when this machine lacks it."""
    try:
        place = torch.device(device)
        torch.zeros(1, device=place).item()
    except Exception as error:  # each backend has its own way of not being there
        raise UnusableData(
            f"device {str(device)!r} cannot be used here ({first_line(error)}); leave it out to stay where the model is"
        ) from error
    return torch.zeros(1, device=place).device
