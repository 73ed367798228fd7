"""Matrix products, convolutions, recurrent layers: what is multiplied is also counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from infoprune.graph.joining import Operand, join, spread
from infoprune.graph.labels import Marks, tidy, varying
from infoprune.graph.rules.base import Tape, rule

aten = torch.ops.aten


def _contract(
    tape: Tape, inputs: Sequence[Tensor], letters: Sequence[tuple], output: tuple, out: Tensor, constant: int = 1,
    counted: int = 2,
) -> None:  # fmt: skip
    """An einsum: the first `counted` inputs are multiplied, the rest is added."""
    operands = [Operand(tape.marks(t), x) for t, x in zip(inputs, letters, strict=True)]
    if not all(tape.is_at_rest(t) for t in inputs[:counted]):
        for tensor, names in zip(inputs[:counted], letters, strict=False):
            tape.note_filters(tensor, names, output)
    strands = join(tape.ledger, operands, output)
    tape.mark(out, Marks(tuple(spread(s, output, out.shape) for s in strands)))
    tape.count_product(constant, extents(tape, inputs[:counted], letters[:counted]))


def extents(tape: Tape, inputs: Sequence[Tensor], letters: Sequence[tuple]) -> list[tuple[int, Tensor | None, int]]:
    """For each letter its size, and a plane and axis that tell which of these positions stay."""
    by_letter: dict = {}
    for tensor, names in zip(inputs, letters, strict=True):
        for axis, letter in enumerate(names):
            plane = next((x for x in tape.marks(tensor).planes if axis in varying(x)), None)
            if letter is not None and (letter not in by_letter or (by_letter[letter][1] is None and plane is not None)):
                by_letter[letter] = (tensor.size(axis), plane, axis)
    return list(by_letter.values())


@rule(aten.mm)
def mm(tape: Tape, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
    _contract(tape, args[:2], [("m", "k"), ("k", "n")], ("m", "n"), out)


@rule(aten.addmm)
def addmm(tape: Tape, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
    bias, a, b = args[:3]
    bias_letters = tuple(x if n > 1 else None for x, n in zip(("m", "n")[-bias.dim() :], bias.shape, strict=True))
    _contract(tape, [a, b, bias], [("m", "k"), ("k", "n"), bias_letters], ("m", "n"), out)


@rule(aten.bmm)
def bmm(tape: Tape, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
    for t in args[:2] if tape.keeps_heads() else ():
        planes = [tape.ledger.collapse(x, [0] if 0 in varying(x) else []) for x in tape.marks(t).planes]
        tape.mark(t, Marks(tuple(x for x in planes if varying(x)), tape.marks(t).adaptive))
    _contract(tape, args[:2], [("b", "m", "k"), ("b", "k", "n")], ("b", "m", "n"), out)


@rule(aten.baddbmm)
def baddbmm(tape: Tape, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
    bias = tuple(x if n > 1 else None for x, n in zip(("b", "m", "n"), args[0].shape, strict=True))
    _contract(tape, [args[1], args[2], args[0]], [("b", "m", "k"), ("b", "k", "n"), bias], ("b", "m", "n"), out)


@rule(aten.mv, aten.dot)
def mv(tape: Tape, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
    rows = ("m", "k") if args[0].dim() == 2 else ("k",)
    _contract(tape, args[:2], [rows, ("k",)], rows[:-1], out)


@rule(aten.convolution, aten._convolution, aten.mkldnn_convolution)
def convolution(tape: Tape, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
    x, weight, bias, transposed, groups = args[0], args[1], args[2], args[6], args[8]
    sweep = x if transposed else out
    channel = x.dim() - weight.dim() + 1
    around, kernel = (None,) * channel, (None,) * (weight.dim() - 2)
    tape.count_product(sweep.numel() // sweep.size(channel), axes(tape, weight))
    tape.note_filters(weight, ("i", "o") if transposed else ("o", "i"), "o", groups=groups)
    if groups > 1:
        return _grouped_convolution(tape, args, out, channel)
    operands = [
        Operand(tape.marks(x), (*around, "c", *kernel)),
        Operand(tape.marks(weight), ("c", "o", *kernel) if transposed else ("o", "c", *kernel)),
        Operand(tape.marks(bias), ("o",)),
    ]
    output = (*around, "o", *kernel)
    strands = join(tape.ledger, operands[: 2 if bias is None else 3], output)
    tape.mark(out, Marks(tuple(spread(s, output, out.shape) for s in strands)))
    return None


def _grouped_convolution(tape: Tape, args: tuple, out: Tensor, channel: int) -> None:
    """Channels are (group, channel of the group): depthwise loses groups, others lose the same places in each."""
    x, weight, bias, transposed, groups = args[0], args[1], args[2], args[6], args[8]
    tied = x.size(channel) > groups
    inputs = [(x, channel), (weight, 0), *([(bias, 0)] if bias is not None else [])]
    marks = [by_group(tape, tensor, axis, groups, tied) for tensor, axis in inputs]
    around, kernel = (None,) * channel, (None,) * (weight.dim() - 2)
    letters = [
        (*around, "g", "c", *kernel),
        ("g", "c", "o", *kernel) if transposed else ("g", "o", "c", *kernel),
        ("g", "o"),
    ]
    output = (*around, "g", "o", *kernel)
    strands = join(tape.ledger, [Operand(m, x) for m, x in zip(marks, letters, strict=False)], output)
    split = (*out.shape[:channel], groups, out.shape[channel] // groups, *out.shape[channel + 1 :])
    tape.mark(out, Marks(tuple(tidy(spread(s, output, split).flatten(channel, channel + 1)) for s in strands)))


def by_group(tape: Tape, tensor: Tensor, axis: int, groups: int, tied: bool = False) -> Marks:
    """The marks with `axis` split into groups; `tied` makes every group lose the same places."""
    marks = tape.marks(tensor)
    planes = [tidy(x.unflatten(axis, (groups, -1))) for x in marks.planes]
    if tied:
        planes = [tape.ledger.collapse(x, [axis] if axis in varying(x) else []) for x in planes]
    return Marks(tuple(planes), marks.adaptive)


def axes(tape: Tape, tensor: Tensor) -> list[tuple[int, Tensor | None, int]]:
    return extents(tape, [tensor], [tuple(range(tensor.dim()))])


@rule(aten.embedding)
def embedding(tape: Tape, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
    planes = tape.marks(args[0]).planes
    for plane in (x for x in planes if 0 in varying(x)):
        tape.ledger.freeze(plane, "rows of an embedding are looked up")
    kept = [x[0].expand(out.shape) for x in planes if 0 not in varying(x)]
    tape.mark(out, Marks(tuple(kept)))
