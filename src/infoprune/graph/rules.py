"""How labels pass through each operation of ATen. What is not listed here freezes the labels that enter it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from infoprune.graph.joining import Operand, join, spread
from infoprune.graph.labels import Ledger, Marks, Statistic, hold, tidy, varying

aten = torch.ops.aten


class Tape(Protocol):
    """What a rule may ask of the trace, and tell it."""

    ledger: Ledger

    def marks(self, value: object) -> Marks: ...
    def mark(self, tensor: Tensor, marks: Marks) -> None: ...
    def count_product(self, constant: int, extents: Sequence[tuple[int, Tensor | None, int]]) -> None: ...
    def note_sizes(self, layer: Tensor) -> None: ...
    def note_split(self, layers: Sequence[Tensor], axis: int) -> None: ...


Rule = Callable[[Tape, Any, tuple, dict, Any], None]
rules: dict[object, Rule] = {}


def rule(*packets: object) -> Callable[[Rule], Rule]:
    def file(function: Rule) -> Rule:
        rules.update(dict.fromkeys(packets, function))
        return function

    return file


def find_rule(func: Any) -> Rule:
    packet = func.overloadpacket
    if packet in rules:
        return rules[packet]
    if packet.__name__.startswith("_scaled_dot_product"):
        return attention
    return pointwise if torch.Tag.pointwise in func.tags else unknown


def tensors(values: object) -> list[Tensor]:
    if isinstance(values, Tensor):
        return [values]
    if isinstance(values, dict):
        values = list(values.values())
    return [t for value in values for t in tensors(value)] if isinstance(values, list | tuple) else []


# ---------------------------------------------------------------------------------------------------- elementwise


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


def unknown(tape: Tape, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
    inputs = tensors([*args, kwargs])
    for layer in (layer for t in inputs for layer in tape.marks(t).layers):
        tape.ledger.freeze(layer, f"{func.overloadpacket.__name__} is not followed")
    adaptive = bool(inputs) and all(tape.marks(t).adaptive for t in inputs)
    for t in tensors(out):
        tape.mark(t, Marks(adaptive=adaptive))


# ------------------------------------------------------------------------------------------------------- movement


@rule(
    aten.permute, aten.transpose, aten.t, aten.expand, aten.unsqueeze, aten.squeeze, aten.select, aten.slice,
    aten.alias, aten.detach, aten.clone, aten.contiguous, aten.roll, aten.flip, aten.repeat, aten.unbind,
    aten.index_select, aten.movedim, aten.unfold, aten.view, aten._unsafe_view, aten.reshape,
    aten._reshape_alias, aten.pixel_shuffle, aten.pixel_unshuffle, aten.index, aten.split_with_sizes, aten.split,
    aten.channel_shuffle, aten.narrow, aten.lift_fresh, aten._to_copy, aten.diagonal, aten.repeat_interleave,
)  # fmt: skip
def movement(tape: Tape, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
    """Elements change places and nothing else: their labels go with them."""
    marks = tape.marks(args[0])
    moved = [_move(func, layer, args[1:], kwargs) for layer in marks.layers]
    if isinstance(out, Tensor):
        tape.mark(out, Marks(tuple(moved), marks.adaptive))
    else:
        for index, piece in enumerate(out):
            tape.mark(piece, Marks(tuple(parts[index] for parts in moved), marks.adaptive))
    _note_shapes(tape, func, args, marks.layers, moved)


def _move(func: Any, layer: Tensor, rest: tuple, kwargs: dict) -> Any:
    packet = func.overloadpacket
    if packet in (aten.view, aten._unsafe_view, aten.reshape, aten._reshape_alias):
        return tidy(layer.reshape(rest[0]))
    if packet in (aten.clone, aten.contiguous, aten.alias, aten.detach, aten.lift_fresh, aten._to_copy):
        return layer
    if packet is aten.pixel_shuffle:
        return tidy(torch.pixel_shuffle(layer.contiguous(), rest[0]))
    moved = func(layer, *(_on_cpu(value) for value in rest), **kwargs)
    return tidy(moved) if isinstance(moved, Tensor) else [tidy(piece) for piece in moved]


def _on_cpu(value: Any) -> Any:
    """Index tensors beside the labels, which never leave the CPU."""
    if isinstance(value, list | tuple):
        return type(value)(_on_cpu(item) for item in value)
    return value.cpu() if isinstance(value, Tensor) else value


def _note_shapes(tape: Tape, func: Any, args: tuple, before: Sequence[Tensor], after: Sequence[Any]) -> None:
    """Sizes that the model's own code names, and rectangles that must stay rectangles."""
    packet = func.overloadpacket
    for old, new in zip(before, after, strict=True):
        for layer in [old, *([new] if isinstance(new, Tensor) else new)]:
            tape.note_sizes(layer)
            tape.ledger.require_rectangle(layer)
        if packet is aten.split:
            _require_equal_parts(tape, old, args[1], args[2] if len(args) > 2 else 0)
        if packet is aten.split_with_sizes:
            tape.note_split(new, args[2] if len(args) > 2 else 0)


def _require_equal_parts(tape: Tape, layer: Tensor, size: int, axis: int) -> None:
    if axis % layer.dim() in varying(layer) and layer.size(axis) % size == 0:
        tape.ledger.require_rectangle(layer.unflatten(axis, (-1, size)))


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
        marks = [Marks(tuple(x.unsqueeze(axis) for x in m.layers), m.adaptive) for m in marks]
        parts = [t.unsqueeze(axis) for t in parts]
    layers = [*_across(tape, parts, marks, axis, out), *_along(tape, parts, marks, axis, out.shape)]
    for layer in layers:
        tape.note_sizes(layer)
        tape.ledger.require_rectangle(layer)
    tape.mark(out, Marks(tuple(layers), all(m.adaptive for m in marks)))


def _across(tape: Tape, parts: list[Tensor], marks: list[Marks], axis: int, out: Tensor) -> list[Tensor]:
    """Layers that don't change along the axis: the parts lie beside each other, so their labels meet."""
    letters = tuple(d if d != axis and n > 1 else None for d, n in enumerate(out.shape))
    operands = [
        Operand(Marks(tuple(hold(x, [axis]) for x in m.layers if axis not in varying(x)), m.adaptive), letters)
        for m in marks
    ]
    return [spread(strand, letters, out.shape) for strand in join(tape.ledger, operands, letters)]


def _along(tape: Tape, parts: list[Tensor], marks: list[Marks], axis: int, shape: Sequence[int]) -> list[Tensor]:
    """Layers that change along the axis follow one another; a part without one is fixed."""
    found = [[x for x in m.layers if axis in varying(x)] for m in marks]
    kinds = {varying(x) for layers in found for x in layers}
    if not kinds:
        return []
    if len(kinds) > 1 or any(len(layers) > 1 for layers in found):
        for layer in (x for layers in found for x in layers):
            tape.ledger.freeze(layer, "parts of different structure are concatenated")
        return []
    changing = kinds.pop()
    row = [n if d in changing else 1 for d, n in enumerate(shape)]
    rows = [
        _resized(layers[0] if layers else _fixed(part.dim()), [*row[:axis], part.size(axis), *row[axis + 1 :]])
        for layers, part in zip(found, parts, strict=True)
    ]
    return [torch.cat(rows, axis).expand(tuple(shape))]


def _fixed(dims: int) -> Tensor:
    return torch.zeros((1,) * dims, dtype=torch.long)


@rule(aten.constant_pad_nd)
def padding(tape: Tape, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
    marks = tape.marks(args[0])
    padded = {out.dim() - 1 - i // 2 for i, amount in enumerate(args[1]) if amount}
    layers = [
        tidy(aten.constant_pad_nd(x, args[1], 0)) if padded & set(varying(x)) else _resized(x, out.shape)
        for x in marks.layers
    ]
    tape.mark(out, Marks(tuple(layers), marks.adaptive))


def _resized(layer: Tensor, shape: Sequence[int]) -> Tensor:
    """The layer with other sizes on the axes on which it is constant."""
    for axis in set(range(layer.dim())) - set(varying(layer)):
        layer = layer.narrow(axis, 0, 1)
    return layer.expand(tuple(shape))


@rule(aten.im2col)
def unfolded(tape: Tape, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
    """(N, C, H, W) -> (N, C * k * k, L): every channel appears k * k times."""
    window = math.prod(args[1])
    layers = [
        _resized(hold(x, [2, 3])[:, :, :1, 0].repeat_interleave(window, 1), out.shape)
        for x in _spatially_constant(tape, args[0], 2)
    ]
    tape.mark(out, Marks(tuple(layers)))


@rule(aten.col2im)
def folded(tape: Tape, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
    """(N, C * k * k, L) -> (N, C, H, W): the k * k rows of a channel are summed, so they leave together."""
    window = math.prod(args[2])
    layers = []
    for layer in _spatially_constant(tape, args[0], 1):
        rows = tape.ledger.collapse(layer.unflatten(1, (-1, window)), [2])[:, :, 0, :1]
        layers.append(_resized(rows.unsqueeze(-1), out.shape))
    tape.mark(out, Marks(tuple(layers)))


@rule(
    aten.max_pool2d_with_indices, aten.max_pool1d, aten.max_pool3d_with_indices, aten.avg_pool1d, aten.avg_pool2d,
    aten.avg_pool3d, aten._adaptive_avg_pool2d, aten.adaptive_avg_pool2d, aten._adaptive_avg_pool3d,
    aten.adaptive_max_pool2d, aten.upsample_nearest2d, aten.upsample_bilinear2d, aten.upsample_bicubic2d,
    aten._upsample_bicubic2d_aa, aten._upsample_bilinear2d_aa, aten.upsample_nearest1d, aten.upsample_linear1d,
    aten.upsample_nearest3d, aten.upsample_trilinear3d, aten.reflection_pad2d, aten.replication_pad2d,
    aten.reflection_pad1d, aten.grid_sampler_2d,
)  # fmt: skip
def spatial(tape: Tape, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
    """Each channel's map is resampled by itself."""
    first = tensors(out)[0]
    layers = _spatially_constant(tape, args[0], first.dim() - 2 if first.dim() > 2 else 1)
    for result in tensors(out):
        tape.mark(result, Marks(tuple(_resized(x, result.shape) for x in layers)))


def _spatially_constant(tape: Tape, tensor: Tensor, trailing: int) -> list[Tensor]:
    """The layers that don't change on the last axes; those that do are frozen."""
    layers = tape.marks(tensor).layers
    mixed = [x for x in layers if any(axis >= x.dim() - trailing for axis in varying(x))]
    for layer in mixed:
        tape.ledger.freeze(layer, "positions are resampled")
    return [x for x in layers if not any(x is y for y in mixed)]


# ---------------------------------------------------------------------------------------------------- contraction


def _contract(
    tape: Tape, inputs: Sequence[Tensor], letters: Sequence[tuple], output: tuple, out: Tensor, constant: int = 1,
    counted: int = 2,
) -> None:  # fmt: skip
    """An einsum: the first `counted` inputs are multiplied, the rest is added."""
    operands = [Operand(tape.marks(t), x) for t, x in zip(inputs, letters, strict=True)]
    strands = join(tape.ledger, operands, output)
    tape.mark(out, Marks(tuple(spread(s, output, out.shape) for s in strands)))
    tape.count_product(constant, extents(tape, inputs[:counted], letters[:counted]))


def extents(tape: Tape, inputs: Sequence[Tensor], letters: Sequence[tuple]) -> list[tuple[int, Tensor | None, int]]:
    """For each letter its size, and a layer and axis that tell which of these positions stay."""
    found: dict = {}
    for tensor, names in zip(inputs, letters, strict=True):
        for axis, letter in enumerate(names):
            layer = next((x for x in tape.marks(tensor).layers if axis in varying(x)), None)
            if letter is not None and (letter not in found or (found[letter][1] is None and layer is not None)):
                found[letter] = (tensor.size(axis), layer, axis)
    return list(found.values())


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
    _contract(tape, args[:2], [("b", "m", "k"), ("b", "k", "n")], ("b", "m", "n"), out)


@rule(aten.baddbmm)
def baddbmm(tape: Tape, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
    bias = tuple(x if n > 1 else None for x, n in zip(("b", "m", "n"), args[0].shape, strict=True))
    _contract(tape, [args[1], args[2], args[0]], [("b", "m", "k"), ("b", "k", "n"), bias], ("b", "m", "n"), out)


@rule(aten.mv, aten.dot)
def mv(tape: Tape, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
    rows = ("m", "k") if args[0].dim() == 2 else ("k",)
    _contract(tape, args[:2], [rows, ("k",)], rows[:-1], out)


def attention(tape: Tape, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
    """softmax(q k' + mask) v: heads (b, h) are kept apart, features of q and k are contracted."""
    q, k, v = args[:3]
    if q.shape[:-2] != k.shape[:-2]:
        return unknown(tape, func, args, kwargs, out)
    batch = tuple(f"b{i}" for i in range(q.dim() - 2))
    inputs, letters = [q, k, v], [(*batch, "n", "d"), (*batch, "m", "d"), (*batch, "m", "e")]
    mask = kwargs.get("attn_mask", args[3] if len(args) > 3 and isinstance(args[3], Tensor) else None)
    if isinstance(mask, Tensor):
        names = (*batch, "n", "m")[-mask.dim() :]
        inputs.append(mask)
        letters.append(tuple(x if n > 1 else None for x, n in zip(names, mask.shape, strict=True)))
    output = (*batch, "n", "e")
    operands = [Operand(tape.marks(t), x) for t, x in zip(inputs, letters, strict=True)]
    result = tensors(out)[0]
    tape.mark(result, Marks(tuple(spread(s, output, result.shape) for s in join(tape.ledger, operands, output))))
    tape.count_product(1, extents(tape, [q, k], letters[:2]))
    tape.count_product(1, [(q.size(-2), None, 0), *extents(tape, [v], letters[2:3])])
    return None


@rule(aten.convolution, aten._convolution, aten.mkldnn_convolution)
def convolution(tape: Tape, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
    x, weight, bias, transposed, groups = args[0], args[1], args[2], args[6], args[8]
    sweep = x if transposed else out
    channel = x.dim() - weight.dim() + 1
    around, kernel = (None,) * channel, (None,) * (weight.dim() - 2)
    tape.count_product(sweep.numel() // sweep.size(channel), axes(tape, weight))
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
    marks = [_by_group(tape, tensor, axis, groups, tied) for tensor, axis in inputs]
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


def _by_group(tape: Tape, tensor: Tensor, axis: int, groups: int, tied: bool = False) -> Marks:
    """The marks with `axis` split into groups; `tied` makes every group lose the same places."""
    marks = tape.marks(tensor)
    layers = [tidy(x.unflatten(axis, (groups, -1))) for x in marks.layers]
    if tied:
        layers = [tape.ledger.collapse(x, [axis] if axis in varying(x) else []) for x in layers]
    return Marks(tuple(layers), marks.adaptive)


def axes(tape: Tape, tensor: Tensor) -> list[tuple[int, Tensor | None, int]]:
    return extents(tape, [tensor], [tuple(range(tensor.dim()))])


@rule(aten.embedding)
def embedding(tape: Tape, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
    layers = tape.marks(args[0]).layers
    for layer in (x for x in layers if 0 in varying(x)):
        tape.ledger.freeze(layer, "rows of an embedding are looked up")
    kept = [x[0].expand(out.shape) for x in layers if 0 not in varying(x)]
    tape.mark(out, Marks(tuple(kept)))


@rule(aten.mkldnn_rnn_layer, aten.lstm, aten.gru, aten.rnn_tanh, aten.rnn_relu, aten._thnn_fused_lstm_cell)
def recurrent(tape: Tape, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
    """Not followed, but counted: each step multiplies by the input and by the hidden weights."""
    unknown(tape, func, args, kwargs, out)
    steps = args[0].numel() // args[0].size(-1)
    for weight in (t for t in tensors([*args[1:], kwargs]) if t.dim() == 2 and tape.marks(t).layers):
        tape.count_product(steps, [(weight.size(0), None, 0), (weight.size(1), None, 0)])


# -------------------------------------------------------------------------------------------------- normalisation


@rule(aten.native_batch_norm, aten._native_batch_norm_legit_no_training, aten.cudnn_batch_norm,
      aten._native_batch_norm_legit, aten._batch_norm_no_update)  # fmt: skip
def batch_norm(tape: Tape, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
    result = tensors(out)[0]
    letters = tuple(range(result.dim()))
    small = [t for t in args[1:5] if isinstance(t, Tensor)]
    operands = [Operand(tape.marks(args[0]), letters), *(Operand(tape.marks(t), (1,)) for t in small)]
    layers = [spread(s, letters, result.shape) for s in join(tape.ledger, operands, letters)]
    if any(flag is True for flag in args[5:6]):
        for layer in (x for x in layers if varying(x) != (1,)):
            tape.ledger.note_statistic(layer, Statistic("weight standardisation"))
    tape.mark(result, Marks(tuple(layers)))


@rule(aten.native_layer_norm, aten._fused_rms_norm, aten.rms_norm, aten.layer_norm)
def layer_norm(tape: Tape, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
    x, shape = args[0], args[1]
    result = tensors(out)[0]
    trailing = {x.dim() - 1 - i for i in range(len(shape))}
    for layer in tape.marks(x).layers:
        tape.note_sizes(layer)
    combine(tape, [x, *(t for t in args[2:4] if isinstance(t, Tensor))], result)
    marks = tape.marks(result)
    statistic = Statistic("layer norm", len(shape) == 1 and isinstance(args[2], Tensor))
    layers = tuple(_over_statistics(tape, layer, trailing, statistic) for layer in marks.layers)
    tape.mark(result, Marks(layers))


def _over_statistics(tape: Tape, layer: Tensor, axes: set[int], statistic: Statistic) -> Tensor:
    """A layer inside the statistics stays and is noted; one that also goes across is tied inside."""
    inside = axes & set(varying(layer))
    if inside and inside != set(varying(layer)):
        return tape.ledger.collapse(layer, sorted(inside))
    if inside:
        tape.ledger.note_statistic(layer, statistic)
    return layer


@rule(aten.native_group_norm)
def group_norm(tape: Tape, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
    x, groups = args[0], args[6]
    result = tensors(out)[0]
    per_group = x.size(1) // groups
    letters = ("n", "g", "c", *range(2, x.dim()))
    operands = [Operand(_by_group(tape, x, 1, groups), letters)]
    operands += [Operand(_by_group(tape, t, 0, groups), ("g", "c")) for t in args[1:3] if isinstance(t, Tensor)]
    whole_groups = groups >= per_group
    layers = []
    for strand in join(tape.ledger, operands, letters):
        layer = spread(strand, letters, (x.size(0), groups, per_group, *x.shape[2:]))
        layer = tape.ledger.collapse(layer, [2 if whole_groups else 1] if len(varying(layer)) > 1 else [])
        if 2 in varying(layer):
            tape.ledger.note_statistic(layer, Statistic("group norm"))
        tape.note_sizes(layer)
        layers.append(tidy(layer.flatten(1, 2)))
    tape.mark(result, Marks(tuple(layers)))


# ------------------------------------------------------------------------------------------------------ reduction


def _reduced_axes(args: tuple, kwargs: dict, dims: int) -> list[int]:
    axes = args[1] if len(args) > 1 else kwargs.get("dim")
    if axes is None or axes == []:
        return list(range(dims))
    return [a % dims for a in ([axes] if isinstance(axes, int) else axes)]


def _reduce(tape: Tape, tensor: Tensor, axes: list[int], out: Tensor, statistic: Statistic | None) -> None:
    layers = []
    for layer in tape.marks(tensor).layers:
        inside = set(axes) & set(varying(layer))
        if inside == set(varying(layer)):
            if statistic:
                tape.ledger.note_statistic(layer, statistic)
            continue
        held = hold(tape.ledger.collapse(layer, sorted(inside)), axes)
        for axis in sorted(axes, reverse=True):
            held = held.narrow(axis, 0, 1) if out.dim() == tensor.dim() else held.select(axis, 0)
        layers.append(held)
    tape.mark(out, Marks(tuple(layers)))


@rule(aten.sum, aten.linalg_vector_norm, aten.norm)
def exact_reduction(tape: Tape, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
    if func.overloadpacket is aten.linalg_vector_norm:
        args = (args[0], *args[2:]) if len(args) > 2 else (args[0],)
    _reduce(tape, args[0], _reduced_axes(args, kwargs, args[0].dim()), out, None)


@rule(aten.mean, aten.var, aten.std, aten.var_mean)
def averaging(tape: Tape, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
    for result in tensors(out):
        axes = _reduced_axes(args, kwargs, args[0].dim())
        _reduce(tape, args[0], axes, result, Statistic("average over channels"))


@rule(aten._softmax, aten._log_softmax, aten._safe_softmax, aten.softmax)
def softmax(tape: Tape, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
    axis = args[1] % out.dim()
    layers = []
    for layer in tape.marks(args[0]).layers:
        if varying(layer) == (axis,):
            tape.ledger.freeze(layer, "a softmax runs over it")
        else:
            layers.append(tape.ledger.collapse(layer, [axis] if axis in varying(layer) else []))
    tape.mark(out, Marks(tuple(layers)))


@rule(aten.amax, aten.amin, aten.max, aten.min, aten.argmax)
def extreme(tape: Tape, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
    if len(args) > 1 and isinstance(args[1], Tensor):
        return combine(tape, args[:2], out)
    axes = _reduced_axes(args, kwargs, args[0].dim())
    for layer in tape.marks(args[0]).layers:
        if set(varying(layer)) <= set(axes):
            tape.ledger.freeze(layer, "a maximum is taken over it")
    for result in tensors(out):
        _reduce(tape, args[0], axes, result, None)
    return None


@rule(aten.glu)
def glu(tape: Tape, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
    axis = (args[1] if len(args) > 1 else -1) % out.dim()
    halves = []
    for layer in tape.marks(args[0]).layers:
        first, second = layer.chunk(2, axis)
        tape.ledger.tie(first, second)
        halves.append(tidy(first))
    tape.mark(out, Marks(tuple(halves)))
