"""Decoders that go on from what they kept of the tokens before, as `generate` makes them do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from infoprune.graph.arguments import Arguments
from infoprune.graph.evaluating import evaluating
from infoprune.graph.nested import is_cache, numbers_of


class GoingOn(nn.Module):
    """What a decoder says to its inputs, and to their first once more behind what it kept of them."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, *args: Any, **kwargs: Any) -> list[Tensor]:
        said = self.model(*args, **kwargs)
        kept = {name: part for name, part in said.items() if is_cache(part)} if isinstance(said, Mapping) else {}
        named = dict(list(kwargs.items())[: not args])
        return [*numbers_of(said), *(numbers_of(self.model(*args[:1], **named, **kept)) if kept else [])]


def goes_on(model: nn.Module, inputs: Arguments) -> bool:
    """Whether the model keeps something and takes it back; encoders with decoders, for one, want more than that."""
    wrapped = GoingOn(model)
    try:
        with torch.no_grad(), evaluating(wrapped):
            return len(inputs.run(wrapped)) > len(numbers_of(inputs.run(model)))
    except Exception:  # whatever the model's own code raises, there is nothing to compare with then
        return False
