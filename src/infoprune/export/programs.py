"""A model as a torch.export program, whose batch is free where the model's own code allows it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infoprune.errors import ExportFailed, first_line
from infoprune.export.inputs import batch_of, resized
from infoprune.graph.arguments import Arguments


def program_of(model: nn.Module, inputs: Arguments) -> tuple[torch.export.ExportedProgram, str | None]:
    """The model as a program whose batch is free if it can be, with the name of that axis."""
    with quiet(), _attention_in_four_axes():
        if batch_of(inputs) is not None:
            try:
                return _exported(model, resized(inputs, 2), _free_batch(inputs)), "batch"
            except Exception:  # the model's own code fixes the batch; the second try says what else is wrong
                pass
        try:
            return _exported(model, inputs, None), None
        except Exception as error:
            raise ExportFailed(
                f"torch.export can't follow {type(model).__name__} ({type(error).__name__}: {first_line(error):.200}); "
                "rewrite what depends on values of tensors, or export a part of the model"
            ) from error


def _exported(model: nn.Module, inputs: Arguments, shapes: Any) -> torch.export.ExportedProgram:
    return torch.export.export(model, inputs.positional, dict(inputs.named), dynamic_shapes=shapes)


def _free_batch(inputs: Arguments) -> Any:
    """The first axis of every tensor free, by position or by name."""
    free = [{0: torch.export.Dim("batch")} if isinstance(value, Tensor) else None for value in inputs.values]
    return dict(zip(inputs.named, free, strict=True)) if inputs.named else tuple(free)


def write_program(program: torch.export.ExportedProgram, draft: Path, batch: str | None, opset: int | None) -> None:
    with quiet():
        torch.export.save(program, draft)


@contextmanager
def quiet() -> Iterator[None]:
    """The exporters warn about themselves; what counts is measured afterwards."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _attention_in_four_axes() -> Iterator[None]:
    """ONNX's exporter translates attention over batch x heads x places x numbers alone; windows are a fifth axis."""
    attention = F.scaled_dot_product_attention

    def folded(query: Tensor, key: Tensor, value: Tensor, *arguments: Any, **options: Any) -> Tensor:
        if query.dim() <= 4 or arguments or options.get("attn_mask") is not None:
            return attention(query, key, value, *arguments, **options)
        q, k, v = (part.flatten(0, -4) for part in (query, key, value))
        return attention(q, k, v, **options).unflatten(0, query.shape[:-3])

    F.scaled_dot_product_attention = folded
    try:
        yield
    finally:
        F.scaled_dot_product_attention = attention
