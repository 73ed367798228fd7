"""Feature streams over asyncio's connections: read whole or not at all, written no faster than the other side reads."""

from __future__ import annotations

import asyncio

from infoprune.errors import BadStream
from infoprune.wire.stream import HEAD, announced_length

MOST_BYTES = 1 << 26
SLICE = 1 << 16


async def read_stream(reader: asyncio.StreamReader, *, most_bytes: int = MOST_BYTES) -> bytes | None:
    """The next stream that arrives, for `decode`; None if the connection ended before another began.

    What its header announces is compared with `most_bytes` before anything else is read, and memory is taken as bytes
    arrive. Raises BadStream for a stream that is larger, cut off, none at all or from another version; where the next
    one begins is then unknown, so close the connection. The checksum is left to `decode`. Waits as long as the sender
    does: put it into `asyncio.wait_for`.
    """
    head = await read_whole(reader, HEAD.size)
    if head is None:
        return None
    length = announced_length(head)
    if length > most_bytes:
        raise BadStream(f"the stream announces {length} bytes and {most_bytes} are the most; send fewer images at once")
    rest = await read_whole(reader, length - len(head))
    if rest is None:
        raise BadStream(f"the connection ended behind the header of a stream of {length} bytes; ask for it again")
    return head + rest


async def write_stream(writer: asyncio.StreamWriter, stream: bytes) -> None:
    """Send what `encode` gave, piece by piece: no more than a piece waits here while the other side does not read.

    Raises BadStream for anything else, before a byte is sent, and ConnectionError if the other side is gone.
    """
    if len(stream) < HEAD.size or announced_length(stream) != len(stream):
        raise BadStream(f"{len(stream)} bytes are not one whole stream; send what encode() gave")
    await write_whole(writer, stream)


async def read_whole(reader: asyncio.StreamReader, count: int) -> bytes | None:
    """The next `count` bytes, None if the connection ended before the first; BadStream if it ended among them."""
    try:
        return await reader.readexactly(count)
    except asyncio.IncompleteReadError as error:
        if not error.partial:
            return None
        raise BadStream(
            f"the connection ended after {len(error.partial)} of {count} bytes; ask for them again"
        ) from None
    except ConnectionError as error:
        raise BadStream(f"the connection was lost among {count} bytes; ask for them again") from error


async def write_whole(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Send the bytes in pieces, each when the other side has made room for it."""
    view = memoryview(data)
    for start in range(0, len(view), SLICE):
        writer.write(view[start : start + SLICE])
        await writer.drain()
