"""Tensors that meet element by element, tensors made from sizes, and operations that are not followed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from infoprune.graph.joining import Operand, join, spread
from infoprune.graph.labels import Marks
from infoprune.graph.rules.base import Tape, rule, tensors

aten = torch.ops.aten


@rule(
    aten.hardswish, aten.hardswish_, aten.hardsigmoid, aten.hardsigmoid_, aten.celu, aten.selu, aten.softplus,
    aten._prelu_kernel, aten.dropout, aten.native_dropout, aten.mish, aten.mish_, aten.rrelu_with_noise,
)  # fmt: skip
def pointwise(tape: Tape, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
    """Tensors that meet element by element, broadcast: what meets leaves together."""
    combine(tape, tensors([*args, kwargs]), out)


def combine(tape: Tape, inputs: Sequence[Tensor], out: Tensor) -> None:
    operands = [Operand(tape.marks(t), _aligned(t.shape)) for t in inputs]
    letters = tuple(range(-out.dim(), 0))
    strands = join(tape.ledger, operands, letters)
    layers = tuple(spread(strand, letters, out.shape) for strand in strands)
    tape.mark(out, Marks(layers, all(o.marks.adaptive for o in operands)))


def _aligned(shape: Sequence[int]) -> tuple[int | None, ...]:
    """Axes counted from the right, as broadcasting does; an axis of size 1 takes no part."""
    return tuple(d - len(shape) if size > 1 else None for d, size in enumerate(shape))


@rule(
    aten.zeros, aten.ones, aten.full, aten.arange, aten.empty, aten.eye, aten.linspace, aten.scalar_tensor,
    aten.zeros_like, aten.ones_like, aten.full_like, aten.empty_like, aten.new_zeros, aten.new_ones, aten.new_full,
    aten.new_empty, aten.rand, aten.randn, aten.rand_like, aten.randn_like,
)  # fmt: skip
def made_from_sizes(tape: Tape, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
    tape.mark(out, Marks(adaptive=True))


@rule(aten.copy_)
def copied_into(tape: Tape, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
    """A slice is overwritten: whoever reads the whole finds it unlabelled, so these labels stay."""
    for layer in tape.marks(args[1]).layers:
        tape.ledger.freeze(layer, "it is copied into a part of another tensor")
    tape.mark(out, Marks())
    if args[0]._base is not None:
        tape.mark(args[0]._base, Marks(tape.marks(args[0]._base).layers))


def unknown(tape: Tape, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
    inputs = tensors([*args, kwargs])
    for layer in (layer for t in inputs for layer in tape.marks(t).layers):
        tape.ledger.freeze(layer, f"{func.overloadpacket.__name__} is not followed")
    adaptive = bool(inputs) and all(tape.marks(t).adaptive for t in inputs)
    for t in tensors(out):
        tape.mark(t, Marks(adaptive=adaptive))
