"""What is in the frames: who speaks (Hello), what is allowed (Welcome), what was computed (Answer), what went wrong."""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import torch
from frames import VERSION, BadFrame, Frame, Kind
from torch import Tensor, nn

import infoprune as ip
from infoprune.wire.stream import VERSION as STREAM_VERSION

SMALL = 1 << 12  # the most bytes of any body but an answer's
MOST_AXES = 8
MOST_VALUES = 1 << 40  # of an output, counting empty axes as one: torch has no strides for more
TYPES = (
    torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.uint8,
    torch.int8, torch.int16, torch.int32, torch.int64, torch.bool,
)  # fmt: skip


class Refused(ip.InfopruneError):
    """The cloud serves something else than this edge wants; trying again is no use."""


class Later(ip.InfopruneError):
    """The cloud is full or about to stop; try again, or elsewhere."""


class RequestFailed(ip.InfopruneError):
    """The cloud could not answer a request; the same one would fail again."""


class Lost(ip.InfopruneError, ConnectionError):
    """The connection is gone, or nothing came over it in time; a request may be sent again."""


# ------------------------------------------------------------------------------------------------------------- hello


@dataclass(frozen=True)
class Hello:
    """What an edge wants served, or a cloud serves; all of it has to be the same, but for the release.

    Of the codecs, a cloud names those that it takes, and an edge those that it sends by.
    """

    model: str
    weights: str
    at: str
    tasks: tuple[str, ...] = ()
    codecs: tuple[str, ...] = ("zlib",)
    protocol: int = VERSION
    stream: int = STREAM_VERSION
    release: str = ip.__version__

    @classmethod
    def of(cls, model: nn.Module, at: str, tasks: tuple[str, ...] = (), codecs: tuple[str, ...] = ("zlib",)) -> Hello:
        return cls(type(model).__name__, fingerprint(model), at, tuple(tasks), tuple(codecs))

    def to_bytes(self) -> bytes:
        """Lines of a name and its words; lists have their words apart by blanks."""
        return _lines(vars(self))

    @classmethod
    def from_bytes(cls, body: bytes) -> Hello:
        found = _parsed(body, cls.__dataclass_fields__)
        lists = {name: tuple(found[name].split()) for name in ("tasks", "codecs")}
        numbers = {name: _number(found[name]) for name in ("protocol", "stream")}
        return cls(**{**found, **lists, **numbers})

    def refusal(self, wanted: Hello) -> str | None:
        """Why an edge that wants this can't be served here; None if it can."""
        same = ("protocol", "stream", "model", "weights", "at", "tasks")
        told = [
            f"{name} is {_told(getattr(self, name))} here and {_told(getattr(wanted, name))} there"
            for name in same
            if getattr(self, name) != getattr(wanted, name)
        ]
        lacking = [codec for codec in wanted.codecs if codec not in self.codecs]
        if lacking:
            told.append(f"codec {_told(lacking)} is not taken here, but {_told(self.codecs)}")
        return "; ".join(told) or None


@dataclass(frozen=True)
class Welcome:
    """What the cloud allows an edge: requests at once, bytes of one stream, values of one input."""

    at_once: int
    stream_bytes: int
    values: int
    release: str = ip.__version__

    def to_bytes(self) -> bytes:
        return _lines(vars(self))

    @classmethod
    def from_bytes(cls, body: bytes) -> Welcome:
        found = _parsed(body, cls.__dataclass_fields__)
        numbers = [_number(found[name]) for name in ("at_once", "stream_bytes", "values")]
        if not all(numbers):
            raise BadFrame("a welcome that allows nothing is none")
        return cls(*numbers, release=found["release"])


def fingerprint(model: nn.Module) -> str:
    """Sixteen digits that two models share if their parameters and buffers are the same, names and all."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(_values(tensor.detach().cpu()))
    return digest.hexdigest()[:16]


def _lines(values: Mapping[str, Any]) -> bytes:
    words = {name: " ".join(value) if isinstance(value, tuple) else str(value) for name, value in values.items()}
    return "".join(f"{name} {value}\n" for name, value in words.items()).encode()


def _parsed(body: bytes, names: Mapping[str, Any]) -> dict[str, str]:
    """The words by name; lines of other names are left to later releases."""
    try:
        lines = body.decode().split("\n")
    except UnicodeDecodeError:
        raise BadFrame("a hello or welcome is not UTF-8") from None
    found = {name: words for name, _, words in (line.partition(" ") for line in lines) if name in names}
    missing = [name for name in names if name not in found]
    if missing:
        raise BadFrame(f"a hello or welcome does not say its {missing[0]}")
    return found


def _number(word: str) -> int:
    if not (word.isascii() and word.isdigit() and len(word) < 12):
        raise BadFrame(f"a hello or welcome says {word[:20]!r} where a number belongs")
    return int(word)


def _told(value: Any) -> str:
    return repr(" ".join(value) if isinstance(value, tuple | list) else str(value))[:200]


# ----------------------------------------------------------------------------------------------- requests and answers


@dataclass(frozen=True)
class Request:
    """What comes before a stream of features: the shape of the model's input that they were computed from."""

    shape: tuple[int, ...]

    def to_bytes(self) -> bytes:
        return struct.pack(f"<B{len(self.shape)}I", len(self.shape), *self.shape)

    @classmethod
    def from_bytes(cls, body: bytes) -> Request:
        cursor = _Cursor(body)
        shape = cursor.shape()
        cursor.end()
        if not shape or 0 in shape:
            raise BadFrame(f"a request speaks of an input of shape {shape}, which holds nothing")
        return cls(shape)


@dataclass(frozen=True)
class Answer:
    """The outputs by name, and what it took: ms in the queue and in the model, and how many requests waited."""

    outputs: Mapping[str, Tensor]
    queue_ms: float
    cloud_ms: float
    waiting: int

    def to_bytes(self) -> bytes:
        head = struct.pack("<ffIH", self.queue_ms, self.cloud_ms, self.waiting, len(self.outputs))
        return b"".join([head, *(_output(name, tensor) for name, tensor in self.outputs.items())])

    @classmethod
    def from_bytes(cls, body: bytes) -> Answer:
        cursor = _Cursor(body)
        queue_ms, cloud_ms, waiting, count = cursor.unpack("<ffIH")
        outputs = dict(cursor.output() for _ in range(count))
        cursor.end()
        return cls(outputs, queue_ms, cloud_ms, waiting)


def named(outputs: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every tensor of an output with its way there: "disparity", "0/boxes"; a single tensor has the name ""."""
    if isinstance(outputs, Tensor):
        yield name, outputs
        return
    if isinstance(outputs, Mapping):
        items: Any = outputs.items()
    elif isinstance(outputs, list | tuple):
        items = enumerate(outputs)
    else:
        raise TypeError(f"the model gives out a {type(outputs).__name__}; answers carry tensors, in lists or by name")
    for key, value in items:
        yield from named(value, f"{name}/{key}" if name else str(key))


def _output(name: str, tensor: Tensor) -> bytes:
    tensor, words = tensor.detach().cpu(), name.encode()
    if tensor.dtype not in TYPES:
        raise TypeError(f"the output {name!r} is {tensor.dtype}; answers carry {', '.join(map(str, TYPES))}")
    shape = struct.pack(f"<BB{tensor.dim()}I", TYPES.index(tensor.dtype), tensor.dim(), *tensor.shape)
    return struct.pack("<H", len(words)) + words + shape + _values(tensor)


def _values(tensor: Tensor) -> bytes:
    return tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes()


class _Cursor:
    """Takes values off a body, and never more than there are."""

    def __init__(self, body: bytes):
        self.body, self.place = body, 0

    def take(self, count: int) -> bytes:
        if count > len(self.body) - self.place:
            raise BadFrame(f"a frame announces {count} bytes where {len(self.body) - self.place} are left")
        self.place += count
        return self.body[self.place - count : self.place]

    def unpack(self, form: str) -> tuple[Any, ...]:
        return struct.unpack(form, self.take(struct.calcsize(form)))

    def shape(self) -> tuple[int, ...]:
        (axes,) = self.unpack("<B")
        if axes > MOST_AXES:
            raise BadFrame(f"a frame speaks of {axes} axes where {MOST_AXES} are the most")
        return self.unpack(f"<{axes}I")

    def output(self) -> tuple[str, Tensor]:
        name = self.text(*self.unpack("<H"))
        (kind,) = self.unpack("<B")
        if kind >= len(TYPES):
            raise BadFrame(f"an output has values of type {kind}, which is none")
        shape, dtype = self.shape(), TYPES[kind]
        if math.prod(axis or 1 for axis in shape) > MOST_VALUES:
            raise BadFrame(f"an output is of shape {shape}, which nothing has")
        data = self.take(math.prod(shape) * dtype.itemsize)
        if not data:
            return name, torch.zeros(shape, dtype=dtype)
        plain = torch.frombuffer(bytearray(data), dtype=torch.uint8 if dtype == torch.bool else dtype)
        return name, plain.view(shape).to(dtype)

    def text(self, count: int) -> str:
        return self.take(count).decode(errors="replace")

    def end(self) -> None:
        if self.place != len(self.body):
            raise BadFrame(f"{len(self.body) - self.place} bytes follow the last value of a frame")


# ------------------------------------------------------------------------------------------------------------ failure


class Why(IntEnum):
    """What is to be done about a failure."""

    WRONG = 1  # what was sent; the same will fail again
    LATER = 2  # try again, or elsewhere
    BROKEN = 3  # the cloud's own fault


def failure(kind: Kind, number: int, why: Why, sentence: str) -> Frame:
    """A frame that says in one sentence what went wrong."""
    return Frame(kind, number, bytes([why]) + sentence.encode()[: SMALL - 1])


def failed(frame: Frame) -> ip.InfopruneError:
    """What such a frame tells, to be raised."""
    cursor = _Cursor(frame.body)
    (why,) = cursor.unpack("<B")
    sentence = cursor.text(len(frame.body) - 1)
    if why == Why.LATER:
        return Later(sentence)
    return Refused(sentence) if frame.kind == Kind.REFUSED else RequestFailed(sentence)
