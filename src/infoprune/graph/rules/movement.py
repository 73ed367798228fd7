"""Elements change places; maps are resampled channel by channel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torchvision  # noqa: F401 - it files its operators
from torch import Tensor

from infoprune.graph.joining import Operand, join, spread
from infoprune.graph.labels import Marks, first_label, hold, tidy, varying
from infoprune.graph.rules.base import Tape, rule, tensors
from infoprune.graph.rules.elementwise import unknown

aten = torch.ops.aten

MOST_SHARES = 8  # a temporal shift moves an eighth of the channels each way


@rule(
    aten.permute, aten.transpose, aten.t, aten.expand, aten.unsqueeze, aten.squeeze, aten.select, aten.slice,
    aten.alias, aten.detach, aten.clone, aten.contiguous, aten.roll, aten.flip, aten.repeat, aten.unbind,
    aten.index_select, aten.movedim, aten.unfold, aten.view, aten._unsafe_view, aten.reshape,
    aten._reshape_alias, aten.pixel_shuffle, aten.pixel_unshuffle, aten.index, aten.split_with_sizes, aten.split,
    aten.channel_shuffle, aten.narrow, aten.lift_fresh, aten._to_copy, aten.diagonal, aten.repeat_interleave,
    aten.unsafe_split, aten.unsafe_split_with_sizes,
)  # fmt: skip
def movement(tape: Tape, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
    """Elements change places and nothing else: their labels go with them."""
    marks = tape.marks(args[0])
    moved = [_move(func, plane, args[1:], kwargs) for plane in marks.planes]
    if isinstance(out, Tensor):
        moved = [tape.by_dimension(plane) for plane in moved]
        repeated = [_move(func, plane, args[1:], kwargs) for plane in marks.repeated]
        tape.mark(out, Marks(tuple(moved), marks.adaptive, (*repeated, *_repetitions(func, args[0], out))))
    else:
        for index, piece in enumerate(out):
            tape.mark(piece, Marks(tuple(parts[index] for parts in moved), marks.adaptive))
    _note_shapes(tape, func, args, marks.planes, moved)


def _move(func: Any, plane: Tensor, rest: tuple, kwargs: dict) -> Any:
    packet = func.overloadpacket
    if packet in (aten.view, aten._unsafe_view, aten.reshape, aten._reshape_alias):
        return tidy(plane.reshape(rest[0]))
    if packet in (aten.clone, aten.contiguous, aten.alias, aten.detach, aten.lift_fresh, aten._to_copy):
        return plane
    if packet is aten.pixel_shuffle:
        return tidy(torch.pixel_shuffle(plane.contiguous(), rest[0]))
    moved = func(plane, *(_on_cpu(value) for value in rest), **kwargs)
    return tidy(moved) if isinstance(moved, Tensor) else [tidy(piece) for piece in moved]


def _repetitions(func: Any, before: Tensor, after: Tensor) -> list[Tensor]:
    """A plane for every axis along which this operation repeats a single element."""
    if func.overloadpacket not in (aten.expand, aten.repeat):
        return []
    old = (1,) * (after.dim() - before.dim()) + tuple(before.shape)
    grown = [axis for axis, size in enumerate(after.shape) if size > 1 and old[axis] == 1]
    return [_numbered(after, axis) for axis in grown]


def _numbered(tensor: Tensor, axis: int) -> Tensor:
    """0, 1, 2, ... along the axis, in the tensor's shape."""
    row = [1] * tensor.dim()
    row[axis] = -1
    return torch.arange(tensor.size(axis)).view(row).expand(tensor.shape)


def _on_cpu(value: Any) -> Any:
    """Index tensors beside the labels, which never leave the CPU."""
    if isinstance(value, list | tuple):
        return type(value)(_on_cpu(item) for item in value)
    return value.cpu() if isinstance(value, Tensor) else value


def _note_shapes(tape: Tape, func: Any, args: Sequence[Any], before: Sequence[Tensor], after: Sequence[Any]) -> None:
    """Sizes that the model's own code names, and rectangles that must stay rectangles."""
    packet = func.overloadpacket
    for old, new in zip(before, after, strict=True):
        for plane in (x for x in [old, *_pieces(new)] if x.numel()):
            tape.note_sizes(plane)
            tape.ledger.require_rectangle(plane)
        if varying(old) and any(_is_single(piece) for piece in _pieces(new)):
            tape.ledger.freeze(old, "single positions of it are picked by number")
        if packet is aten.slice and not tape.marks(args[0]).adaptive:
            _require_whole_steps(tape, old, *args[1:])
            _require_equal_shares(tape, old, new, *args[1:3])
        if packet in (aten.split, aten.unsafe_split):
            _require_equal_parts(tape, old, args[1], args[2] if len(args) > 2 else 0)
        if packet in (aten.split_with_sizes, aten.unsafe_split_with_sizes):
            tape.note_split(new, args[2] if len(args) > 2 else 0)


def _pieces(moved: Tensor | Sequence[Tensor]) -> Sequence[Tensor]:
    return [moved] if isinstance(moved, Tensor) else moved


def _is_single(plane: Tensor) -> bool:
    return bool(plane.numel()) and not varying(plane) and first_label(plane) != 0


def _require_whole_steps(tape: Tape, plane: Tensor, axis: int = 0, start: Any = None, end: Any = None, step: int = 1):
    """Of every `step` channels one is picked: as many leave as belong together."""
    axis %= plane.dim()
    if step > 1 and axis in varying(plane):
        whole = plane.size(axis) // step * step
        rows = plane.narrow(axis, 0, whole).unflatten(axis, (-1, step))
        tape.ledger.collapse(rows, [axis + 1])
        for rest in [plane.narrow(axis, whole, plane.size(axis) - whole)] if whole < plane.size(axis) else []:
            tape.ledger.freeze(rest, "it is left over where channels are picked in steps")


def _require_equal_shares(tape: Tape, plane: Tensor, part: Tensor, axis: int = 0, start: Any = None):
    """A half, third, ... of one layer's channels, where such parts begin: code that takes size // 2 wants halves."""
    axis %= plane.dim()
    size, count = plane.size(axis), part.size(axis)
    if axis not in varying(plane) or not 0 < count < size or size % count or size // count > MOST_SHARES:
        return
    if part.stride(axis) != plane.stride(axis):  # picked in steps
        return
    first, last = (first_label(plane.select(axis, place)) for place in (0, -1))
    if (start or 0) % count == 0 and last - first == size - 1:
        tape.ledger.collapse(plane.unflatten(axis, (-1, count)), [axis])


def _require_equal_parts(tape: Tape, plane: Tensor, size: int, axis: int) -> None:
    if axis % plane.dim() in varying(plane) and plane.size(axis) % size == 0:
        tape.ledger.require_rectangle(plane.unflatten(axis, (-1, size)))


@rule(aten.transpose_, aten.t_, aten.squeeze_, aten.unsqueeze_, aten.swapaxes_, aten.swapdims_)
def turned(tape: Tape, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
    """The tensor itself gets other axes."""
    marks, name = tape.marks(args[0]), func.overloadpacket.__name__.rstrip("_")
    planes = tuple(getattr(plane, name)(*args[1:], **kwargs) for plane in marks.planes)
    tape.mark(out, Marks(planes, marks.adaptive))
    for plane in planes:
        tape.note_sizes(plane)


@rule(aten.as_strided_, aten.as_strided)
def restrided(tape: Tape, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
    """Only the memory format may change; any other use is not followed."""
    if tuple(args[1]) == tuple(out.shape) and math.prod(args[1]) == args[0].numel():
        tape.mark(out, tape.marks(args[0]))
    else:
        unknown(tape, func, args, kwargs, out)


@rule(aten.cat, aten.stack)
def concatenation(tape: Tape, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
    parts = [t for t in args[0] if t.dim() == out.dim() or func.overloadpacket is aten.stack]
    axis = (args[1] if len(args) > 1 else kwargs.get("dim", 0)) % out.dim()
    marks = [tape.marks(t) for t in parts]
    if func.overloadpacket is aten.stack:
        marks = [Marks(tuple(x.unsqueeze(axis) for x in m.planes), m.adaptive) for m in marks]
        parts = [t.unsqueeze(axis) for t in parts]
    marks = _alike_along(tape, marks, axis)
    planes = [*_across(tape, parts, marks, axis, out), *_along(tape, parts, marks, axis, out.shape)]
    for plane in planes:
        tape.note_sizes(plane)
        tape.ledger.require_rectangle(plane)
    tape.mark(out, Marks(tuple(planes), all(m.adaptive for m in marks)))


def _alike_along(tape: Tape, marks: list[Marks], axis: int) -> list[Marks]:
    """Where one part was tied along the axis (heads whose rotated half is one), so are the others."""
    tied = {varying(x) for m in marks for x in m.planes if varying(x) and axis not in varying(x)}
    alike = []
    for m in marks:
        rest = [tuple(d for d in varying(x) if d != axis) for x in m.planes]
        planes = [
            tape.ledger.collapse(x, [axis] if r in tied and axis in varying(x) else [])
            for x, r in zip(m.planes, rest, strict=True)
        ]
        alike.append(Marks(tuple(planes), m.adaptive))
    return alike


def _across(tape: Tape, parts: list[Tensor], marks: list[Marks], axis: int, out: Tensor) -> list[Tensor]:
    """Layers that don't change along the axis: the parts lie beside each other, so their labels meet."""
    letters = tuple(d if d != axis and n > 1 else None for d, n in enumerate(out.shape))
    operands = [
        Operand(Marks(tuple(hold(x, [axis]) for x in m.planes if axis not in varying(x)), m.adaptive), letters)
        for m in marks
    ]
    return [spread(strand, letters, out.shape) for strand in join(tape.ledger, operands, letters)]


def _along(tape: Tape, parts: list[Tensor], marks: list[Marks], axis: int, shape: Sequence[int]) -> list[Tensor]:
    """Layers that change along the axis follow one another; a part without one is fixed."""
    changing_planes = [[x for x in m.planes if axis in varying(x)] for m in marks]
    kinds = {varying(x) for planes in changing_planes for x in planes}
    if not kinds:
        return []
    if len(kinds) > 1 or any(len(planes) > 1 for planes in changing_planes):
        for plane in (x for planes in changing_planes for x in planes):
            tape.ledger.freeze(plane, "parts of different structure are concatenated")
        return []
    changing = kinds.pop()
    row = [n if d in changing else 1 for d, n in enumerate(shape)]
    rows = [
        _resized(planes[0] if planes else _fixed(part.dim()), [*row[:axis], part.size(axis), *row[axis + 1 :]])
        for planes, part in zip(changing_planes, parts, strict=True)
    ]
    return [torch.cat(rows, axis).expand(tuple(shape))]


def _fixed(dims: int) -> Tensor:
    return torch.zeros((1,) * dims, dtype=torch.long)


@rule(aten.constant_pad_nd)
def padding(tape: Tape, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
    marks = tape.marks(args[0])
    padded = {out.dim() - 1 - i // 2 for i, amount in enumerate(args[1]) if amount}
    planes = [
        tidy(aten.constant_pad_nd(x, args[1], 0)) if padded & set(varying(x)) else _resized(x, out.shape)
        for x in marks.planes
    ]
    tape.mark(out, Marks(tuple(planes), marks.adaptive))


def _resized(plane: Tensor, shape: Sequence[int]) -> Tensor:
    """The plane with other sizes on the axes on which it is constant."""
    for axis in set(range(plane.dim())) - set(varying(plane)):
        plane = plane.narrow(axis, 0, 1)
    return plane.expand(tuple(shape))


@rule(aten.im2col)
def unfolded(tape: Tape, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
    """(N, C, H, W) -> (N, C * k * k, L): every channel appears k * k times."""
    window = math.prod(args[1])
    planes = [
        _resized(hold(x, [2, 3])[:, :, :1, 0].repeat_interleave(window, 1), out.shape)
        for x in _spatially_constant(tape, args[0], 2)
    ]
    tape.mark(out, Marks(tuple(planes)))


@rule(aten.col2im)
def folded(tape: Tape, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
    """(N, C * k * k, L) -> (N, C, H, W): the k * k rows of a channel are summed, so they leave together."""
    window = math.prod(args[2])
    planes = []
    for plane in _spatially_constant(tape, args[0], 1):
        rows = tape.ledger.collapse(plane.unflatten(1, (-1, window)), [2])[:, :, 0, :1]
        planes.append(_resized(rows.unsqueeze(-1), out.shape))
    tape.mark(out, Marks(tuple(planes)))


@rule(
    aten.max_pool2d_with_indices, aten.max_pool1d, aten.max_pool3d_with_indices, aten.avg_pool1d, aten.avg_pool2d,
    aten.avg_pool3d, aten._adaptive_avg_pool2d, aten.adaptive_avg_pool2d, aten._adaptive_avg_pool3d,
    aten.adaptive_max_pool2d, aten.upsample_nearest2d, aten.upsample_bilinear2d, aten.upsample_bicubic2d,
    aten._upsample_bicubic2d_aa, aten._upsample_bilinear2d_aa, aten.upsample_nearest1d, aten.upsample_linear1d,
    aten.upsample_nearest3d, aten.upsample_trilinear3d, aten.reflection_pad2d, aten.replication_pad2d,
    aten.reflection_pad1d, aten.grid_sampler_2d, torch.ops.torchvision.roi_align, torch.ops.torchvision.roi_pool,
)  # fmt: skip
def spatial(tape: Tape, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
    """Each channel's map is resampled by itself."""
    first = tensors(out)[0]
    planes = _spatially_constant(tape, args[0], first.dim() - 2 if first.dim() > 2 else 1)
    for result in tensors(out):
        tape.mark(result, Marks(tuple(_resized(x, result.shape) for x in planes)))


def _spatially_constant(tape: Tape, tensor: Tensor, trailing: int) -> list[Tensor]:
    """The planes, tied along the last axes; those that change there alone are frozen."""
    constant = []
    for plane in tape.marks(tensor).planes:
        mixed = [axis for axis in varying(plane) if axis >= plane.dim() - trailing]
        if mixed and len(mixed) == len(varying(plane)):
            tape.ledger.freeze(plane, "positions are resampled")
        else:
            constant.append(tape.ledger.collapse(plane, mixed))
    return constant
