"""Products in which each row meets the matrix of the expert that it was routed to."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from infoprune.graph.joining import Operand, join, spread
from infoprune.graph.labels import Marks, varying
from infoprune.graph.rules.base import Tape, newer, rule
from infoprune.graph.rules.contraction import extents
from infoprune.graph.rules.elementwise import unknown

BLOCKS = (8, 4)  # channels: the kernel wants rows of a multiple of 16 bytes, in half precision too


@rule(newer("_grouped_mm"))
@rule("grouped_mm_fallback")  # what transformers falls back to, where sizes are odd or numbers are doubles
def grouped(tape: Tape, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
    """(s, k) by (e, k, n) to (s, n): all experts lose the same inner channels."""
    rows, matrices = args[:2]
    if (rows.dim(), matrices.dim()) != (2, 3):
        return unknown(tape, func, args, kwargs, out)
    for plane in tape.marks(matrices).planes:
        if 0 in varying(plane):
            tape.ledger.freeze(plane, "rows are routed to experts by their number")
    inside = Marks(tuple(_in_blocks(tape, x) for x in tape.marks(matrices).planes if 0 not in varying(x)))
    letters, output = [("s", "k"), ("e", "k", "n")], ("s", "n")
    tape.note_filters(matrices, letters[1], output)
    strands = join(tape.ledger, [Operand(tape.marks(rows), letters[0]), Operand(inside, letters[1])], output)
    tape.mark(out, Marks(tuple(spread(s, output, out.shape) for s in strands)))
    tape.count_product(1, extents(tape, [rows, matrices], [letters[0], (None, *letters[1][1:])]))
    return None


def _in_blocks(tape: Tape, plane: Tensor) -> Tensor:
    """Channels leave by the block, so that what is left still has rows of a length that the kernel takes."""
    for axis in varying(plane):
        block = next((b for b in BLOCKS if plane.size(axis) % b == 0), 1)
        tape.ledger.collapse(plane.unflatten(axis, (-1, block)), [axis + 1] if block > 1 else [])
    return plane
