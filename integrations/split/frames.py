"""Frames: what an edge and a cloud say to each other, each with its length and a checksum.

Little-endian:

    "IPSP", version u8, kind u8, zero u16, number u32, length of the body u32
    body
    CRC-32 of all that u32

`number` names a request and its answer; it is 0 in frames that speak of the connection.
"""

from __future__ import annotations

import asyncio
import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum

from infoprune.errors import BadStream
from infoprune.wire.connection import read_whole, write_whole

MAGIC, VERSION = b"IPSP", 1
HEAD, CRC = struct.Struct("<4sBBHII"), struct.Struct("<I")


class BadFrame(BadStream):
    """Bytes that are not a frame, or not one that is expected here."""


class Kind(IntEnum):
    """What a frame is."""

    HELLO = 1
    WELCOME = 2
    REFUSED = 3
    REQUEST = 4  # a stream of features follows the frame
    ANSWER = 5
    FAILED = 6


@dataclass(frozen=True)
class Frame:
    """One thing that is said."""

    kind: Kind
    number: int
    body: bytes = b""

    def to_bytes(self) -> bytes:
        head = HEAD.pack(MAGIC, VERSION, self.kind, 0, self.number, len(self.body))
        return head + self.body + CRC.pack(zlib.crc32(self.body, zlib.crc32(head)))


async def read_frame(reader: asyncio.StreamReader, *, most_bytes: int, begun: bytes = b"") -> Frame | None:
    """The next frame, whose first bytes may have been read already; None where the connection ends before one.

    Raises BadFrame or BadStream, after which nobody knows where the next frame begins: close the connection.
    """
    rest = await read_whole(reader, HEAD.size - len(begun))
    if rest is None:
        if begun:
            raise BadFrame("the connection ended within a frame")
        return None
    kind, number, length = _checked(begun + rest, most_bytes)
    tail = await read_whole(reader, length + CRC.size)
    if tail is None:
        raise BadFrame("the connection ended within a frame")
    if zlib.crc32(begun + rest + tail[:length]) != CRC.unpack(tail[length:])[0]:
        raise BadFrame("a frame's checksum does not match; it was damaged on its way, send it again")
    return Frame(kind, number, tail[:length])


async def write_frame(writer: asyncio.StreamWriter, frame: Frame) -> None:
    """Send a frame as fast as the other side reads."""
    await write_whole(writer, frame.to_bytes())


def _checked(head: bytes, most_bytes: int) -> tuple[Kind, int, int]:
    magic, version, kind, zero, number, length = HEAD.unpack(head)
    if magic != MAGIC:
        raise BadFrame(f"a frame begins with {magic!r}, not with {MAGIC!r}; is that another service?")
    if version != VERSION:
        raise BadFrame(f"a frame has version {version}, this program speaks {VERSION}; update the older side")
    if zero or kind not in list(Kind):
        raise BadFrame(f"there is no frame of kind {kind}; send the kinds of this version")
    if length > most_bytes:
        raise BadFrame(f"a frame announces {length} bytes where {most_bytes} are the most")
    return Kind(kind), number, length
