"""What example inputs looked like, as plain data from which the same call can be made again.

An argument is told as

    (shape, dtype)                  a tensor of normal numbers
    (shape, dtype, (low, high))     a tensor of numbers from low to high
    (shape, dtype, text)            a tensor with just these bytes, compressed, in base64
    (value, "value")                None, a truth value, a number or a short text
    (arguments, "list" | "tuple")   what a list or tuple holds
    (((key, argument), ...), "dict")
    (name of its class, "object")   anything else, which can't be made again

and keyword arguments come last, as (((name, argument), ...), "keywords"). Integers and truth values keep their values,
since a model may take them as indices, lengths or masks; so do floating-point tensors that hold infinite values. Where
these don't fit into `MOST_TEXT` characters their range is kept.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from infoprune.errors import BadArtifact
from infoprune.graph.arguments import Arguments
from infoprune.surgery.checked import LONGEST_AXIS, fields_of, integer, sequence, word

VALUE, LIST, TUPLE, DICT, KEYWORDS, OBJECT = "value", "list", "tuple", "dict", "keywords", "object"
MOST_TEXT = 1 << 16  # characters of one tensor's bytes
MOST_BYTES = 1 << 22  # of one tensor before compression: a mask over 2048 x 2048 tokens
MOST_PARTS = 1 << 10  # of one list, tuple or dict
LONGEST_WORD = 200  # characters of a text or a key
LARGEST_NUMBER = 1 << 62
DEEPEST = 6  # lists within lists

Described = tuple[Any, ...]
InputSpec = tuple[Described, ...]


def described(inputs: Arguments) -> InputSpec:
    """One entry for every argument.

    >>> described(Arguments.of(([torch.randn(3, 8, 8)], None)))
    (((((3, 8, 8), 'float32'),), 'list'), (None, 'value'))
    """
    positional = tuple(_described(value) for value in inputs.positional)
    return (*positional, (_items(inputs.named), KEYWORDS)) if inputs.named else positional


def reproducible(inputs: InputSpec) -> bool:
    """Whether the call can be made again: no argument is an object that plain data does not tell."""
    return all(_reproducible(spec) for spec in inputs)


def shapes(inputs: InputSpec) -> InputSpec:
    """The same arguments without the values of their tensors: what two calls share that cost the same."""
    return tuple(_shape(spec) for spec in inputs)


def _shape(spec: Described) -> Described:
    inner, kind = spec[:2]
    if kind in (DICT, KEYWORDS):
        return tuple((key, _shape(value)) for key, value in inner), kind
    return (shapes(inner), kind) if kind in (LIST, TUPLE) else (inner, kind)


def _reproducible(spec: Described) -> bool:
    inner, kind = spec[:2]
    if kind in (DICT, KEYWORDS):
        return all(_reproducible(value) for _, value in inner)
    return reproducible(inner) if kind in (LIST, TUPLE) else kind != OBJECT


def _described(value: Any, depth: int = 0) -> Described:
    if isinstance(value, Tensor):
        return _tensor(value)
    if type(value) in (list, tuple, dict) and len(value) <= MOST_PARTS and depth < DEEPEST:
        if not isinstance(value, dict):
            return tuple(_described(part, depth + 1) for part in value), LIST if isinstance(value, list) else TUPLE
        if all(isinstance(key, str) and len(key) <= LONGEST_WORD for key in value):
            return _items(value, depth + 1), DICT
    return (value, VALUE) if _is_short(value) else (type(value).__name__, OBJECT)


def _items(values: Mapping[str, Any], depth: int = 0) -> Described:
    return tuple((key, _described(value, depth)) for key, value in values.items())


def _is_short(value: Any) -> bool:
    if value is None or type(value) in (bool, float):
        return True
    return abs(value) <= LARGEST_NUMBER if type(value) is int else type(value) is str and len(value) <= LONGEST_WORD


def _tensor(tensor: Tensor) -> Described:
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_nested:
        return type(tensor).__name__, OBJECT
    form = tuple(tensor.shape), str(tensor.dtype).removeprefix("torch.")
    if tensor.is_complex() or tensor.is_meta or not tensor.numel():
        return form
    low, high = (float(bound) if tensor.is_floating_point() else int(bound) for bound in _bounds(tensor))
    if not tensor.is_floating_point() or not bool(tensor.isfinite().all()):
        text = packed(tensor)
        exact_only = text is None and tensor.is_floating_point()
        return (type(tensor).__name__, OBJECT) if exact_only else (*form, (low, high) if text is None else text)
    return form if low < 0 or high == 0 else (*form, (low, high))


def _bounds(tensor: Tensor) -> tuple[Tensor, Tensor]:
    whole = tensor.detach().to(torch.uint8) if tensor.dtype is torch.bool else tensor.detach()
    return whole.min(), whole.max()


def packed(tensor: Tensor) -> str | None:
    """The tensor's bytes as text; None where they are too many."""
    if tensor.numel() * tensor.element_size() > MOST_BYTES:
        return None
    raw = tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
    text = base64.b64encode(zlib.compress(raw, 9)).decode()
    return text if len(text) <= MOST_TEXT else None


def unpacked(text: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """The tensor that `packed` wrote; ValueError where the text holds another number of bytes, or none at all."""
    expected = torch.Size(shape).numel() * dtype.itemsize
    try:
        raw = zlib.decompressobj().decompress(base64.b64decode(text, validate=True), min(expected, MOST_BYTES) + 1)
    except zlib.error as error:
        raise ValueError(f"the bytes of a tensor are damaged ({error})") from error
    if len(raw) != expected or (dtype is torch.bool and max(raw, default=0) > 1):
        raise ValueError(f"{len(raw)} bytes are no tensor of shape {shape} and type {dtype}")
    return torch.frombuffer(bytearray(raw), dtype=dtype).view(shape) if raw else torch.empty(shape, dtype=dtype)


# -------------------------------------------------------------------------------------------- from untrusted JSON


def inputs_from(data: Any) -> InputSpec:
    """Positional arguments, then keyword arguments if there are any."""
    items = sequence(data, "inputs", MOST_PARTS + 1)
    last = items[-1:] if items and _is_of(items[-1], KEYWORDS) else []
    positional = tuple(_argument(item) for item in items[: len(items) - len(last)])
    return (*positional, *((_items_from(item[0]), KEYWORDS) for item in last))


def _is_of(item: Any, kind: str) -> bool:
    return isinstance(item, list) and len(item) == 2 and item[1] == kind


def _argument(data: Any, depth: int = 0) -> Described:
    if depth > DEEPEST:
        raise BadArtifact(f"arguments are nested deeper than {DEEPEST} levels; no saved call is")
    if isinstance(data, list) and len(data) == 3:
        return *_shape_and_type(data[:2]), _contents(data[2])
    inner, kind = fields_of(data, "input", 2)
    if kind in (LIST, TUPLE):
        return tuple(_argument(item, depth + 1) for item in sequence(inner, "inputs", MOST_PARTS)), kind
    if kind == DICT:
        return _items_from(inner, depth + 1), kind
    if kind == VALUE:
        return _value_from(inner), kind
    if kind == OBJECT:
        return _text(inner), kind
    return _shape_and_type(data)


def _items_from(data: Any, depth: int = 0) -> Described:
    pairs = [fields_of(item, "named argument", 2) for item in sequence(data, "named arguments", MOST_PARTS)]
    return tuple((_text(key), _argument(value, depth)) for key, value in pairs)


def _shape_and_type(data: Any) -> Described:
    shape, dtype = data
    return tuple(integer(n, "input size", 0, LONGEST_AXIS) for n in sequence(shape, "shape", 16)), word(dtype)


def _contents(data: Any) -> str | tuple[float, float]:
    """The bytes of a tensor as text, or the range of its numbers."""
    if isinstance(data, str):
        return _text(data, MOST_TEXT)
    low, high = fields_of(data, "range", 2)
    for bound in (low, high):
        if not _is_number(bound):
            raise BadArtifact(f"a bound of an input is {bound!r:.40}, not a number")
    if not low <= high:
        raise BadArtifact(f"an input's numbers are said to lie from {low!r:.40} to {high!r:.40}")
    return low, high


def _value_from(data: Any) -> Any:
    if data is None or isinstance(data, bool | float):
        return data
    return _text(data) if isinstance(data, str) else integer(data, "an argument", -LARGEST_NUMBER, LARGEST_NUMBER)


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and abs(value) <= (LARGEST_NUMBER if isinstance(value, int) else float("inf"))


def _text(data: Any, most: int = LONGEST_WORD) -> str:
    if not isinstance(data, str) or len(data) > most:
        raise BadArtifact(f"{data!r:.60} is not a text of at most {most} characters")
    return data
