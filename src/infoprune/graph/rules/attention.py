"""Scaled dot-product attention, with as many key heads as query heads or fewer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from infoprune.graph.joining import Operand, Strand, join, spread
from infoprune.graph.labels import Inexactness, Marks, tidy, varying
from infoprune.graph.rules.base import Tape, tensors
from infoprune.graph.rules.contraction import by_group, extents
from infoprune.graph.rules.elementwise import unknown


def attention(tape: Tape, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
    """softmax(q k' + mask) v: heads (b, h) are kept apart, features of q and k are contracted.

    Heads leave whole, or, where they are to stay, lose the same dimensions of q, k and v. Where `sharing` query heads
    (r) read one key head (h), these leave together; where all read the only one, they leave one by one.
    """
    q, k, v = args[:3]
    sharing = _queries_of_a_key(q, k, v)
    if not sharing:
        return unknown(tape, func, args, kwargs, out)
    for plane in (x for t in (k, v) for x in tape.marks(t).planes if x.dim() - 2 in varying(x)):
        tape.ledger.freeze(plane, "a softmax runs over it")
    batch = tuple(f"b{i}" for i in range(q.dim() - 2))
    heads = (*batch, "r") if sharing > 1 else batch
    letters: list[tuple] = [(*heads, "n", "d"), (*batch, "m", "d"), (*batch, "m", "e")]
    marks = [_by_key(tape, q, sharing), tape.marks(k), tape.marks(v)]
    mask = kwargs.get("attn_mask", args[3] if len(args) > 3 and isinstance(args[3], Tensor) else None)
    if isinstance(mask, Tensor):
        marks.append(_by_key(tape, mask, sharing))
        letters.append(_mask_letters(mask, batch, heads))
    if tape.keeps_heads():
        marks[:3] = _dimensions(tape, marks[:3], scaled=kwargs.get("scale") is not None)
    output = (*heads, "n", "e")
    strands = join(tape.ledger, [Operand(m, x) for m, x in zip(marks, letters, strict=True)], output)
    _mark_output(tape, tensors(out)[0], _heads_first(tape, strands, heads), output, sharing)
    _count(tape, q, k, v)
    return None


def _queries_of_a_key(q: Tensor, k: Tensor, v: Tensor) -> int:
    """How many query heads read one key head; 0 where that can't be told."""
    if q.shape[:-2] == k.shape[:-2] == v.shape[:-2]:
        return 1
    same = q.dim() > 2 and k.shape[:-2] == v.shape[:-2] and q.shape[:-3] == k.shape[:-3]
    return q.size(-3) // k.size(-3) if same and q.size(-3) % k.size(-3) == 0 else 0


def _by_key(tape: Tape, tensor: Tensor, sharing: int) -> Marks:
    """The marks with the axis of query heads split into key heads and the queries of each."""
    if sharing == 1 or tensor.dim() < 3 or tensor.size(-3) == 1:
        return tape.marks(tensor)
    return by_group(tape, tensor, tensor.dim() - 3, tensor.size(-3) // sharing)


def _mask_letters(mask: Tensor, batch: tuple, heads: tuple) -> tuple:
    """Axes are counted from the right; one of size 1 takes no part."""
    per_head = mask.dim() > 2 and mask.size(-3) > 1
    before = [x if n > 1 else None for x, n in zip(batch[2 - mask.dim() :] if mask.dim() > 2 else (), mask.shape)]  # noqa: B905
    ends = [x if n > 1 else None for x, n in zip(("n", "m"), mask.shape[-2:], strict=True)]
    return (*before, *(heads[len(batch) :] if per_head else ()), *ends)


def _heads_first(tape: Tape, strands: Sequence[Strand], heads: tuple) -> list[Strand]:
    """Values that all heads share keep their dimensions where heads may leave: an output channel has one owner."""
    apart = [s for s in strands if "e" not in s.letters and set(s.letters) & set(heads)]
    shared = [s for s in strands if apart and s.letters == ("e",)]
    for strand in shared:
        tape.ledger.freeze(strand.labels, "it is shared by all heads or groups")
    return [s for s in strands if not any(s is x for x in shared)]


def _mark_output(tape: Tape, out: Tensor, strands: Sequence[Strand], output: tuple, sharing: int) -> None:
    if sharing == 1:
        return tape.mark(out, Marks(tuple(spread(s, output, out.shape) for s in strands)))
    split = (*out.shape[:-3], out.size(-3) // sharing, sharing, *out.shape[-2:])
    planes = (spread(s, output, split) for s in strands)
    return tape.mark(out, Marks(tuple(tidy(x.flatten(-4, -3)) for x in planes)))


def _count(tape: Tape, q: Tensor, k: Tensor, v: Tensor) -> None:
    """q k' and the product with v, each for every query head."""
    rows = tuple(range(q.dim() - 1))
    queries = extents(tape, [q], [(*rows, "d")])
    keys = (k.size(-2), None, 0)
    tape.count_product(1, [*queries, keys])
    values = extents(tape, [v], [tuple("e" if d == v.dim() - 1 else None for d in range(v.dim()))])
    tape.count_product(1, [*queries[:-1], keys, *values])


def _dimensions(tape: Tape, marks: Sequence[Marks], *, scaled: bool) -> list[Marks]:
    """Marks of q, k and v that are tied over heads and change along their dimensions alone.

    The code cuts all three by one number. A scale that is not given follows from the number of dimensions.
    """
    inside = [[x for x in m.planes if x.dim() - 1 in varying(x)] for m in marks]
    tied = [
        [tape.ledger.collapse(x, [axis for axis in varying(x) if axis != x.dim() - 1]) for x in planes]
        for planes in inside
    ]
    rows = [x[(0,) * (x.dim() - 1)] for planes in tied for x in planes]
    for row in rows[1:]:
        if len(row) == len(rows[0]):
            tape.ledger.tie(rows[0], row)
    for plane in () if scaled else tied[0]:
        tape.ledger.note_inexactness(plane, Inexactness("attention scale"))
    return [Marks(tuple(planes), m.adaptive) for planes, m in zip(tied, marks, strict=True)]
