"""Inputs like the examples, of other batch sizes."""

from __future__ import annotations

import torch
from torch import Tensor

from infoprune.graph.arguments import Arguments


def batch_of(inputs: Arguments) -> int | None:
    """The batch size that all tensors share; None where they share none, are packed in something, or mix both ways."""
    plain = all(x is None or isinstance(x, Tensor | bool | int | float | str) for x in inputs.values)
    sizes = {len(t) if t.dim() else None for t in inputs.tensors}
    return sizes.pop() if plain and len(sizes) == 1 and not (inputs.positional and inputs.named) else None


def resized(inputs: Arguments, size: int) -> Arguments:
    """`size` samples like the examples: floating point ones drawn at their spread, others repeated."""
    generator = torch.Generator().manual_seed(size)
    return inputs.map(lambda tensor: _like(tensor, size, generator))


def _like(example: Tensor, size: int, generator: torch.Generator) -> Tensor:
    if not example.is_floating_point():
        return example[torch.arange(size) % len(example)]
    spread = float(example.std()) if example.numel() > 1 else 0.0
    drawn = torch.randn((size, *example.shape[1:]), generator=generator) * (spread or 1.0) + float(example.mean())
    return drawn.to(example)
