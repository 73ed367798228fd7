"""Tensors that meet element by element, tensors made from sizes, and operations that are not followed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from infoprune.graph.joining import Operand, join, spread
from infoprune.graph.labels import Marks
from infoprune.graph.rules.base import Tape, rule, tensors
from infoprune.graph.rules.parts import written

aten = torch.ops.aten


@rule(
    aten.hardswish, aten.hardswish_, aten.hardsigmoid, aten.hardsigmoid_, aten.celu, aten.selu, aten.softplus,
    aten._prelu_kernel, aten.dropout, aten.native_dropout, aten.mish, aten.mish_, aten.rrelu_with_noise, aten.copy_,
)  # fmt: skip
def pointwise(tape: Tape, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
    """Tensors that meet element by element, broadcast: what meets leaves together."""
    if not isinstance(out, Tensor):
        unknown(tape, func, args, kwargs, out)
        return
    combine(tape, tensors([*args, kwargs]), out)
    if func.overloadpacket.__name__.endswith("_"):
        written(tape, out)


def combine(tape: Tape, inputs: Sequence[Tensor], out: Tensor) -> None:
    operands = [Operand(tape.marks(t), _aligned(t)) for t in inputs]
    letters = tuple(range(-out.dim(), 0))
    strands = join(tape.ledger, operands, letters)
    planes = tuple(spread(strand, letters, out.shape) for strand in strands)
    tape.mark(out, Marks(planes, all(o.marks.adaptive for o in operands)))


def _aligned(tensor: Tensor) -> tuple[int | None, ...]:
    """Axes counted from the right, as broadcasting does; one of size 1, or expanded from it, takes no part."""
    sizes = zip(tensor.shape, tensor.stride(), strict=True)
    return tuple(d - tensor.dim() if size > 1 and stride else None for d, (size, stride) in enumerate(sizes))


@rule(
    aten.zeros, aten.ones, aten.full, aten.arange, aten.empty, aten.eye, aten.linspace, aten.scalar_tensor,
    aten.zeros_like, aten.ones_like, aten.full_like, aten.empty_like, aten.new_zeros, aten.new_ones, aten.new_full,
    aten.new_empty, aten.rand, aten.randn, aten.rand_like, aten.randn_like,
)  # fmt: skip
def made_from_sizes(tape: Tape, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
    tape.mark(out, Marks(adaptive=True))


def unknown(tape: Tape, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
    inputs = tensors([*args, kwargs])
    for plane in (plane for t in inputs for plane in tape.marks(t).planes):
        tape.ledger.freeze(plane, f"{func.overloadpacket.__name__} is not followed")
    adaptive = bool(inputs) and all(tape.marks(t).adaptive for t in inputs)
    for t in tensors(out):
        tape.mark(t, Marks(adaptive=adaptive))
