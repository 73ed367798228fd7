"""What a codec is, and the two that need nothing but Python: deflated levels and deflated values."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from infoprune.errors import BadStream
from infoprune.registry import Registry

codecs: Registry[type[Codec]] = Registry("codec")


class Codec(ABC):
    """Turns a grey picture [height, width] of bytes into a short string of bytes, and back.

    The same picture gives the same bytes every time. `decode` takes what anybody may have written: it raises
    BadStream, and allocates for no other size than it is told.
    """

    name: ClassVar[str]
    number: ClassVar[int]  # in streams; 0..127 are this library's own
    of_values: ClassVar[bool] = False  # the picture holds the bytes of the values themselves, not 8-bit levels
    has_qp: ClassVar[bool] = False  # is made as Codec(qp), otherwise as Codec()
    qp: int

    @abstractmethod
    def encode(self, picture: np.ndarray) -> bytes:
        """The picture (uint8) as bytes."""

    @abstractmethod
    def decode(self, data: bytes, height: int, width: int) -> np.ndarray:
        """The picture of this size, as near to what was encoded as the codec keeps it."""


class _Deflated(Codec):
    """A picture's bytes as they are, row by row."""

    def encode(self, picture: np.ndarray) -> bytes:
        return deflate(picture.tobytes())

    def decode(self, data: bytes, height: int, width: int) -> np.ndarray:
        return np.frombuffer(inflate(data, height * width), np.uint8).reshape(height, width)


@codecs.register("zlib")
@dataclass(frozen=True)
class Zlib(_Deflated):
    """8-bit levels, deflated: nothing is lost beyond the quantisation, nothing has to be installed."""

    name: ClassVar[str] = "zlib"
    number: ClassVar[int] = 1


@codecs.register("lossless")
@dataclass(frozen=True)
class Lossless(_Deflated):
    """The values themselves, bit for bit (NaN and infinite ones too), first bytes first, deflated."""

    name: ClassVar[str] = "lossless"
    number: ClassVar[int] = 2
    of_values: ClassVar[bool] = True


def qp_of(codec: Codec) -> int:
    """The quantisation parameter, 0 of those that have none."""
    return codec.qp if codec.has_qp else 0


def codec_at(factory: type[Codec], qp: int) -> Codec:
    """The codec of this class; `qp` is 0 for those that have none."""
    make: Any = factory  # with its parameter, or without
    if factory.has_qp:
        return make(qp)
    if qp:
        raise ValueError(f"{factory.name} has no quantisation parameter and was given {qp}")
    return make()


def deflate(data: bytes) -> bytes:
    return zlib.compress(data, 9)


def inflate(data: bytes, size: int) -> bytes:
    """The `size` bytes that were deflated; no more than one beyond is ever unpacked."""
    machine = zlib.decompressobj()
    try:
        content = machine.decompress(data, size + 1)
    except zlib.error as error:
        raise BadStream(f"deflated bytes can't be read ({error}); ask for the stream again") from error
    if len(content) != size or not machine.eof or machine.unused_data:
        raise BadStream(f"deflated bytes do not hold the {size} that were announced; ask for the stream again")
    return content
