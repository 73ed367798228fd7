"""Features as a bit stream: versioned, self-describing, length-prefixed and checksummed.

Little-endian, nothing but integers, float32 and the codecs' own bytes:

    "IPFS", version u8, type of the values u8, images in a batch? u8, parts u8 (1 or 2)
    length of the whole stream u64, images u32, features u32, height u32, width u32
    for each part:  codec u8, QP u8, bitmap of its features, ceil(features / 8) bytes, lowest bit first
                    for each image:  length of the ranges u32, length of the picture u32, ranges, picture
    CRC-32 of all that u32

The ranges of n features are n smallest and largest values as float32, deflated; a part that carries the values
themselves has none.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from infoprune.errors import BadFeatures, BadStream
from infoprune.wire.codec import Codec, codec_at, codecs, deflate, inflate, qp_of
from infoprune.wire.quantisation import dequantise, quantise
from infoprune.wire.selection import MOST_FEATURES, Part, Selection
from infoprune.wire.tiling import grid, tile, untile

MAGIC, VERSION = b"IPFS", 1
HEAD, LENGTHS, CRC = struct.Struct("<4sBBBBQIIII"), struct.Struct("<II"), struct.Struct("<I")
TYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.uint8)
SEND_WHOLE = "send what encode() gave"
MOST_VALUES = 1 << 26
MOST_VALUES_A_BYTE = 1 << 16  # even constant pictures take more: what claims to hold more is made up


@dataclass(frozen=True)
class Description:
    """What a stream says of itself. `bits` of each part are its pictures and ranges, of all images together."""

    images: int
    selection: Selection
    height: int
    width: int
    dtype: torch.dtype
    batched: bool
    bits: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the features that `decode` gives back."""
        one = (self.selection.size, self.height, self.width)
        return (self.images, *one) if self.batched else one


def encode(features: Tensor, selection: Selection) -> bytes:
    """The selected features of one image [C, H, W] or several [B, C, H, W] as a bit stream.

    Every image has ranges and pictures of its own. The same features give the same bytes every time. Raises
    BadFeatures for values that the codec can't carry; features that are not sent may hold anything.
    """
    batch = _as_batch(features, selection)
    body = b"".join(_part_bytes(batch, part, selection.size) for part in selection.parts)
    length = HEAD.size + len(body) + CRC.size
    _check_expands(batch.numel(), length, ValueError)
    kind, batched = TYPES.index(batch.dtype), features.dim() == 4
    head = HEAD.pack(MAGIC, VERSION, kind, batched, len(selection.parts), length, *batch.shape)
    return head + body + CRC.pack(zlib.crc32(head + body))


def decode(data: bytes) -> Tensor:
    """The features that `encode` was given, zero where they were not sent, in their own type, on the CPU.

    Bit for bit what was given for parts that travel by Lossless. Raises BadStream for whatever `encode` did not write,
    and allocates no more than the stream's own length can account for.
    """
    described, blocks = _parsed(data)
    selection = described.selection
    batch = torch.zeros(described.images, selection.size, described.height, described.width, dtype=described.dtype)
    for part, of_part in zip(selection.parts, blocks, strict=True):
        for image, (ranges, picture) in zip(batch, of_part, strict=True):
            image[list(part.kept)] = _values(part, ranges, picture, described)
    return batch if described.batched else batch[0]


def describe(data: bytes) -> Description:
    """What is in a stream; its pictures are not decoded. Raises BadStream as `decode` does."""
    return _parsed(data)[0]


# ------------------------------------------------------------------------------------------------------ writing


def _as_batch(features: Tensor, selection: Selection) -> Tensor:
    if not isinstance(features, Tensor) or features.dim() not in (3, 4):
        shape = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise ValueError(f"features are {shape}; give maps [C, H, W] or [B, C, H, W]")
    batch = features.detach().cpu()
    batch = batch if batch.dim() == 4 else batch[None]
    if batch.dtype not in TYPES:
        raise TypeError(f"features are {batch.dtype}; the wire carries {', '.join(str(t) for t in TYPES)}")
    if not batch.numel():
        raise BadFeatures(f"features of shape {tuple(features.shape)} hold nothing; give at least one value a map")
    if batch.shape[1] != selection.size:
        raise ValueError(f"there are {batch.shape[1]} features and the selection is of {selection.size}; select again")
    _check_expands(batch.numel(), MOST_VALUES, ValueError)
    return batch


def _part_bytes(batch: Tensor, part: Part, size: int) -> bytes:
    bitmap = np.zeros(size, bool)
    bitmap[list(part.kept)] = True
    blocks = [_block(image[list(part.kept)], part.codec) for image in batch]
    return b"".join(
        [bytes([part.codec.number, qp_of(part.codec)]), np.packbits(bitmap, bitorder="little").tobytes(), *blocks]
    )


def _block(maps: Tensor, codec: Codec) -> bytes:
    """One image's part: ranges and picture with their lengths."""
    if codec.of_values:
        ranges, planes = b"", _byte_planes(maps)
    else:
        planes, spans = quantise(maps)
        ranges = deflate(spans.numpy().astype("<f4").tobytes())
    picture = codec.encode(tile(planes).numpy())
    return LENGTHS.pack(len(ranges), len(picture)) + ranges + picture


def _byte_planes(maps: Tensor) -> Tensor:
    """[n, H, W] values as [itemsize * n, H, W] bytes: all first bytes, then all second ones, and so on."""
    split = maps.flatten().view(torch.uint8).view(*maps.shape, maps.element_size())
    return split.permute(3, 0, 1, 2).flatten(0, 1)


def _from_byte_planes(planes: Tensor, dtype: torch.dtype) -> Tensor:
    split = planes.unflatten(0, (dtype.itemsize, -1))
    return split.permute(1, 2, 3, 0).flatten().view(dtype).view(split.shape[1:])


# ------------------------------------------------------------------------------------------------------ reading


class _Reader:
    """Takes bytes off the front, and never more than there are."""

    def __init__(self, data: bytes, place: int):
        self.data, self.place = data, place

    def take(self, count: int) -> bytes:
        if count > len(self.data) - self.place:
            raise BadStream(
                f"the stream announces {count} bytes where {len(self.data) - self.place} are left; ask for it again"
            )
        self.place += count
        return self.data[self.place - count : self.place]


Blocks = list[tuple[bytes, bytes]]


def _parsed(data: bytes) -> tuple[Description, list[Blocks]]:
    """The description, and for each part the (ranges, picture) of each image."""
    data = _intact(data)
    _, _, kind, batched, count, _, images, size, height, width = HEAD.unpack_from(data)
    if kind >= len(TYPES) or batched > 1 or count not in (1, 2) or not 1 <= size <= MOST_FEATURES:
        raise BadStream("the stream's header holds values that no writer gives it; ask for the stream again")
    if not images or not height or not width or (images > 1 and not batched):
        raise BadStream(f"the stream announces {images} images of {height} x {width}; ask for it again")
    _check_expands(images * size * height * width, len(data) + CRC.size, BadStream)
    reader = _Reader(data, HEAD.size)
    parts, blocks = zip(*(_read_part(reader, size, images) for _ in range(count)), strict=True)
    if reader.place != len(data):
        raise BadStream(f"{len(data) - reader.place} bytes follow the last part of the stream; ask for it again")
    bits = tuple(8 * sum(len(r) + len(p) for r, p in of_part) for of_part in blocks)
    return Description(images, _selection(size, parts), height, width, TYPES[kind], bool(batched), bits), list(blocks)


def _intact(data: bytes) -> bytes:
    """The stream without its checksum, which holds."""
    if not isinstance(data, bytes | bytearray | memoryview):
        raise TypeError(f"a stream is bytes, not {type(data).__name__}")
    data = bytes(data)
    if len(data) < HEAD.size + CRC.size:
        raise BadStream(f"{len(data)} bytes that begin with {data[:4]!r} are no features stream; {SEND_WHOLE}")
    length = announced_length(data)
    if length != len(data):
        raise BadStream(f"the stream announces {length} bytes and has {len(data)}; it was cut, ask for it again")
    body = data[: -CRC.size]
    if zlib.crc32(body) != CRC.unpack(data[-CRC.size :])[0]:
        raise BadStream("the stream's checksum does not match; it was damaged on its way, ask for it again")
    return body


def announced_length(head: bytes) -> int:
    """Of the stream that begins with these bytes: what its header says, checksum and header included."""
    magic, version, *_, length, _, _, _, _ = HEAD.unpack_from(head)
    if magic != MAGIC:
        raise BadStream(f"bytes that begin with {magic!r} are no features stream; {SEND_WHOLE}")
    if version != VERSION:
        raise BadStream(f"the stream has version {version}, this release reads {VERSION}; update infoprune")
    if length < HEAD.size + CRC.size:
        raise BadStream(f"the stream announces {length} bytes, fewer than its header has; ask for it again")
    return length


def _read_part(reader: _Reader, size: int, images: int) -> tuple[Part, Blocks]:
    number, qp = reader.take(2)
    codec = _codec(number, qp)
    bitmap = np.unpackbits(np.frombuffer(reader.take(-(-size // 8)), np.uint8), bitorder="little")
    if bitmap[size:].any():
        raise BadStream("a part of the stream holds features beyond the last; ask for the stream again")
    return Part(tuple(np.flatnonzero(bitmap).tolist()), codec), list(_read_blocks(reader, images))


def _read_blocks(reader: _Reader, images: int) -> Iterator[tuple[bytes, bytes]]:
    for _ in range(images):
        ranges, picture = LENGTHS.unpack(reader.take(LENGTHS.size))
        yield reader.take(ranges), reader.take(picture)


def _selection(size: int, parts: tuple[Part, ...]) -> Selection:
    try:
        return Selection(size, parts)
    except ValueError as error:
        raise BadStream(f"the stream's selection is none: {error}") from error


def _codec(number: int, qp: int) -> Codec:
    named = [codecs[name] for name in codecs if codecs[name].number == number]
    if not named:
        raise BadStream(f"the stream was coded by codec {number}, which this release does not know; update infoprune")
    try:
        return codec_at(named[0], qp)
    except ValueError as error:
        raise BadStream(f"the stream's codec is none: {error}") from error


def _values(part: Part, ranges: bytes, picture: bytes, described: Description) -> Tensor:
    """The maps of one image's part."""
    of_values = part.codec.of_values
    count = len(part.kept) * (described.dtype.itemsize if of_values else 1)
    rows, columns = grid(count)
    mosaic = part.codec.decode(picture, rows * described.height, columns * described.width)
    planes = untile(torch.from_numpy(mosaic.copy()), count)
    if of_values:
        return _from_byte_planes(planes, described.dtype)
    return dequantise(planes, _ranges(ranges, count), described.dtype)


def _ranges(data: bytes, count: int) -> Tensor:
    spans = np.frombuffer(inflate(data, 8 * count), "<f4").reshape(count, 2)
    if not (np.isfinite(spans).all() and (spans[:, 0] <= spans[:, 1]).all()):
        raise BadStream("the stream's ranges are not finite or end before they begin; ask for the stream again")
    return torch.from_numpy(spans.astype(np.float32))


def _check_expands(values: int, length: int, error: type[Exception]) -> None:
    most = min(MOST_VALUES, MOST_VALUES_A_BYTE * length)
    if values > most:
        raise error(f"{values} values are more than a stream may hold ({most}); send fewer images at once")
