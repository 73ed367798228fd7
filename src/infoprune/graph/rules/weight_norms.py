"""Norms of weights, whose values change by design when a part of the weight leaves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from infoprune.graph.joining import Operand, join
from infoprune.graph.labels import Inexactness, Ledger, Marks, first_label, varying
from infoprune.graph.rules.base import Tape, rule, tensors
from infoprune.graph.rules.elementwise import combine

aten = torch.ops.aten

WEIGHT_NORM = Inexactness("weight norm", reproducible=True)
SPECTRAL_NORM = Inexactness("spectral norm", reproducible=True)


@rule(aten._weight_norm_interface)
def weight_norm(tape: Tape, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
    """g v / |v|, the norm taken over all axes but one."""
    direction, gain = args[:2]
    axis = args[2] if len(args) > 2 else kwargs.get("dim", 0)
    for plane in tape.marks(direction).planes:
        if varying(plane) != (axis,):
            tape.ledger.note_inexactness(plane, WEIGHT_NORM)
    weight, norms = tensors(out)
    combine(tape, [direction, gain], weight)
    tape.mark(norms, tape.marks(gain))


@rule(aten.vdot)
def scalar_product(tape: Tape, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
    """One number; it is not counted among multiply-adds."""
    join(tape.ledger, [Operand(tape.marks(t), ("k",)) for t in args[:2]], ())
    tape.mark(out, Marks())


class Labelled(Protocol):
    """What `note_norms` asks of the trace."""

    ledger: Ledger

    def marks(self, value: object) -> Marks: ...


def note_norms(tape: Labelled, func: Any, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
    """Parameters alone were reduced to norms, or to the product with a vector that a spectral norm begins with."""
    packet = func.overloadpacket
    if packet is aten.mv:
        for plane in tape.marks(inputs[0]).planes:
            tape.ledger.note_inexactness(plane, SPECTRAL_NORM)
    if packet in (aten.linalg_vector_norm, aten.norm):
        left = {first_label(plane) for t in outputs for plane in tape.marks(t).planes}
        for plane in (x for t in inputs for x in tape.marks(t).planes):
            if first_label(plane) not in left:
                tape.ledger.note_inexactness(plane, WEIGHT_NORM)
