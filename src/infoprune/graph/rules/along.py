"""Operations that run along one axis, and writing into positions of one: labels along it stay, others go on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from infoprune.graph.joining import Operand, join, spread
from infoprune.graph.labels import Marks, hold, varying
from infoprune.graph.rules.base import Tape, rule, tensors
from infoprune.graph.rules.elementwise import unknown
from infoprune.graph.rules.parts import written

aten = torch.ops.aten


def named(func: Any, args: tuple, kwargs: dict) -> dict[str, Any]:
    """The arguments of a call by name, with the defaults of its schema."""
    declared = func._schema.arguments
    defaults = {a.name: a.default_value for a in declared if a.has_default_value()}
    return defaults | {a.name: value for a, value in zip(declared, args, strict=False)} | kwargs


def passing(tape: Tape, tensor: Tensor, axis: int, name: str) -> list[Tensor]:
    """The planes that don't change along the axis; those that do are frozen."""
    planes = []
    for plane in tape.marks(tensor).planes:
        if axis in varying(plane):
            tape.ledger.freeze(plane, f"{name} runs along it")
        else:
            planes.append(plane)
    return planes


def fitted(plane: Tensor, shape: Sequence[int]) -> Tensor:
    """The plane for a tensor with other sizes: longer where it is constant, or cut at its end."""
    held = hold(plane, [d for d in range(plane.dim()) if d not in varying(plane)])
    for axis, size in enumerate(shape):
        held = held.narrow(axis, 0, size if axis in varying(plane) else 1)
    return held.expand(tuple(shape))


@rule(
    aten.cumsum, aten.cumsum_, aten.cumprod, aten.cumprod_, aten.cummax, aten.cummin, aten.logcumsumexp, aten.sort,
    aten.topk, aten.kthvalue, aten.mode, aten.median, aten.nanmedian, aten.renorm, aten.tril, aten.triu,
)  # fmt: skip
def run_along(tape: Tape, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
    """Each line along the axis is worked on by itself."""
    x, about = args[0], named(func, args, kwargs)
    if "dim" not in about or not x.dim():
        return unknown(tape, func, args, kwargs, out)
    axis = about["dim"] % x.dim()
    planes = passing(tape, x, axis, func.overloadpacket.__name__.rstrip("_"))
    for result in tensors(out):
        gone = [] if result.dim() == x.dim() else [axis]
        kept = [plane.select(axis, 0) if gone else plane for plane in planes]
        tape.mark(result, Marks(tuple(fitted(plane, result.shape) for plane in kept)))
    return None


@rule(aten.logsumexp, aten.prod)
def run_over(tape: Tape, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
    """Each line along the axes becomes one number, which zeros change."""
    x, dims = args[0], named(func, args, kwargs).get("dim")
    axes = sorted({d % max(1, x.dim()) for d in ([dims] if isinstance(dims, int) else dims or range(x.dim()))})
    planes = tape.marks(x).planes
    for plane in (y for y in planes if set(axes) & set(varying(y))):
        tape.ledger.freeze(plane, f"{func.overloadpacket.__name__} runs along it")
    kept = [y for y in planes if not set(axes) & set(varying(y))]
    for axis in reversed(axes if out.dim() < x.dim() else []):
        kept = [y.select(axis, 0) for y in kept]
    tape.mark(out, Marks(tuple(fitted(y, out.shape) for y in kept)))


@rule(aten.gather)
def gathered(tape: Tape, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
    """Positions along one axis are looked up, for each index of the other axes by itself."""
    planes = passing(tape, args[0], args[1] % max(1, args[0].dim()), "gather")
    tape.mark(out, Marks(tuple(fitted(plane, out.shape) for plane in planes)))


@rule(
    aten.scatter, aten.scatter_, aten.scatter_add, aten.scatter_add_, aten.scatter_reduce, aten.scatter_reduce_,
    aten.index_add, aten.index_add_, aten.index_copy, aten.index_copy_, aten.index_fill, aten.index_fill_,
    aten.index_reduce, aten.index_reduce_, aten.slice_scatter, aten.select_scatter,
)  # fmt: skip
def scattered(tape: Tape, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
    """Positions along one axis are written to; what lies across them meets."""
    about, name = named(func, args, kwargs), func.overloadpacket.__name__.rstrip("_")
    axis = about["dim"] % max(1, out.dim())
    source = next((about[k] for k in ("src", "source") if isinstance(about.get(k), Tensor)), None)
    if source is not None and source.dim() == out.dim() - 1:
        _select_scattered(tape, args[0], source, axis, out, name)
    else:
        written_across(tape, args[0], source, axis, out, name)
    if func.overloadpacket.__name__.endswith("_"):
        written(tape, out)


def written_across(tape: Tape, into: Tensor, source: Tensor | None, axis: int, out: Tensor, name: str) -> None:
    parts = [into] if source is None or not source.dim() else [into, source]
    operands = []
    for part in parts:
        letters = tuple(d if d != axis and part.size(d) > 1 else None for d in range(part.dim()))
        planes = [plane for plane in passing(tape, part, axis, name) if _fits(tape, plane, out, name)]
        operands.append(Operand(Marks(tuple(planes), tape.marks(part).adaptive), letters))
    letters = tuple(d if d != axis and n > 1 else None for d, n in enumerate(out.shape))
    strands = join(tape.ledger, operands, letters)
    tape.mark(out, Marks(tuple(spread(s, letters, out.shape) for s in strands), tape.marks(into).adaptive))


def _select_scattered(tape: Tape, into: Tensor, source: Tensor, axis: int, out: Tensor, name: str) -> None:
    source_marks = tape.marks(source)
    lifted = source.unsqueeze(axis)
    tape.mark(lifted, Marks(tuple(x.unsqueeze(axis) for x in source_marks.planes), source_marks.adaptive))
    written_across(tape, into, lifted, axis, out, name)


def _fits(tape: Tape, plane: Tensor, out: Tensor, name: str) -> bool:
    if all(plane.size(axis) == out.size(axis) for axis in varying(plane)):
        return True
    tape.ledger.freeze(plane, f"{name} takes a part of it")
    return False


@rule(aten.index_put, aten.index_put_, aten._index_put_impl_)
def put(tape: Tape, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
    """Positions named by tensors are overwritten; what lies across them meets."""
    into, indices, values = args[:3]
    letters, target = _put_letters(into, indices)
    operands = []
    for tensor, names in ((into, letters), (values, target[len(target) - values.dim() :])):
        own = tuple(x if n > 1 else None for x, n in zip(names, tensor.shape, strict=True))
        hidden = [x for x in tape.marks(tensor).planes if any(own[axis] is None for axis in varying(x))]
        for plane in hidden:
            tape.ledger.freeze(plane, "it is copied into a part of another tensor")
        seen = tuple(x for x in tape.marks(tensor).planes if not any(x is y for y in hidden))
        operands.append(Operand(Marks(seen, tape.marks(tensor).adaptive), own))
    strands = join(tape.ledger, operands, letters)
    tape.mark(out, Marks(tuple(spread(s, letters, out.shape) for s in strands), tape.marks(into).adaptive))
    if func.overloadpacket is not aten.index_put:
        written(tape, out)


def _put_letters(into: Tensor, indices: Sequence[Tensor | None]) -> tuple[tuple, tuple]:
    """Names for the axes of what is written into, and of what `into[indices]` would give."""
    covered: list[int] = []
    places, axis, width = [], 0, 0
    for place, index in enumerate(indices):
        step = index.dim() if index is not None and index.dtype in (torch.bool, torch.uint8) else 1
        if index is not None:
            covered += range(axis, axis + step)
            places.append(place)
            width = max(width, 1 if index.dtype in (torch.bool, torch.uint8) else index.dim())
        axis += step
    letters = tuple(None if d in covered else d for d in range(into.dim()))
    adjacent = places == list(range(places[0], places[-1] + 1)) if places else True
    before = [d for d in letters[: covered[0] if covered and adjacent else 0] if d is not None]
    after = [d for d in letters if d is not None and d not in before]
    return letters, (*before, *([None] * width), *after)


@rule(aten._cdist_forward, aten._euclidean_dist)
def distances(tape: Tape, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
    """(m, k) and (n, k) to (m, n): features that leave are equal in both, and add nothing."""
    letters = [_batched(t, ("m" if place == 0 else "n", "k")) for place, t in enumerate(args[:2])]
    output = _batched(out, ("m", "n"))
    operands = [Operand(tape.marks(t), x) for t, x in zip(args[:2], letters, strict=True)]
    strands = join(tape.ledger, operands, output)
    tape.mark(out, Marks(tuple(spread(s, output, out.shape) for s in strands)))


def _batched(tensor: Tensor, last: tuple[str, str]) -> tuple:
    """Batch axes counted from the right, as broadcasting does."""
    lead = tuple(d - tensor.dim() if tensor.size(d) > 1 else None for d in range(tensor.dim() - 2))
    return (*lead, *last)
