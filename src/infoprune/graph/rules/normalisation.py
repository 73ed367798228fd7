"""Norms: their parameters belong to the channels, their statistics may run over them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from infoprune.graph.joining import Operand, join, spread
from infoprune.graph.labels import Inexactness, Marks, tidy, varying
from infoprune.graph.rules.base import Tape, newer, rule, tensors
from infoprune.graph.rules.contraction import by_group
from infoprune.graph.rules.elementwise import combine

aten = torch.ops.aten


@rule(aten.native_batch_norm, aten._native_batch_norm_legit_no_training, aten.cudnn_batch_norm,
      aten._native_batch_norm_legit, aten._batch_norm_no_update)  # fmt: skip
def batch_norm(tape: Tape, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
    result = tensors(out)[0]
    letters = tuple(range(result.dim()))
    small = [t for t in args[1:5] if isinstance(t, Tensor)]
    operands = [Operand(tape.marks(args[0]), letters), *(Operand(tape.marks(t), (1,)) for t in small)]
    planes = [spread(s, letters, result.shape) for s in join(tape.ledger, operands, letters)]
    if any(flag is True for flag in args[5:6]):
        for plane in (x for x in planes if varying(x) != (1,)):
            tape.ledger.note_inexactness(plane, Inexactness("weight standardisation"))
    tape.mark(result, Marks(tuple(planes)))


@rule(aten.native_layer_norm, newer("_fused_rms_norm"), aten.rms_norm, aten.layer_norm)
def layer_norm(tape: Tape, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
    x, shape = args[0], args[1]
    result = tensors(out)[0]
    trailing = {x.dim() - 1 - i for i in range(len(shape))}
    for plane in tape.marks(x).planes:
        tape.note_sizes(plane)
    if tape.keeps_heads():
        tape.mark(x, _alike_outside(tape, tape.marks(x), trailing))
    combine(tape, [x, *(t for t in args[2:4] if isinstance(t, Tensor))], result)
    marks = tape.marks(result)
    planes = tuple(_over_statistics(tape, plane, trailing, Inexactness("layer norm")) for plane in marks.planes)
    tape.mark(result, Marks(planes))


def _alike_outside(tape: Tape, marks: Marks, axes: set[int]) -> Marks:
    """Layers that go through the statistics and across are tied across: every head loses the same."""
    tied = [
        tape.ledger.collapse(x, sorted(set(varying(x)) - axes)) if axes & set(varying(x)) else x for x in marks.planes
    ]
    return Marks(tuple(tied), marks.adaptive)


def _over_statistics(tape: Tape, plane: Tensor, axes: set[int], statistic: Inexactness) -> Tensor:
    """A plane inside the statistics stays and is noted; one that also goes across is tied inside."""
    inside = axes & set(varying(plane))
    if inside and inside != set(varying(plane)):
        return tape.ledger.collapse(plane, sorted(inside))
    if inside:
        tape.ledger.note_inexactness(plane, statistic)
    return plane


@rule(aten.native_group_norm)
def group_norm(tape: Tape, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
    x, groups = args[0], args[6]
    result = tensors(out)[0]
    per_group = x.size(1) // groups
    letters = ("n", "g", "c", *range(2, x.dim()))
    operands = [Operand(by_group(tape, x, 1, groups), letters)]
    operands += [Operand(by_group(tape, t, 0, groups), ("g", "c")) for t in args[1:3] if isinstance(t, Tensor)]
    whole_groups = groups >= per_group
    planes = []
    for strand in join(tape.ledger, operands, letters):
        plane = spread(strand, letters, (x.size(0), groups, per_group, *x.shape[2:]))
        plane = tape.ledger.collapse(plane, [2 if whole_groups else 1] if len(varying(plane)) > 1 else [])
        if 2 in varying(plane):
            tape.ledger.note_inexactness(plane, Inexactness("group norm"))
        tape.note_sizes(plane)
        planes.append(tidy(plane.flatten(1, 2)))
    tape.mark(result, Marks(tuple(planes)))
