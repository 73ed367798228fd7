"""Streams over a connection: whole or refused, and never more memory than has arrived."""

import asyncio
import random
import socket
import struct
import tracemalloc

import pytest
import torch
from tests.wire.test_hostile_streams import STREAMS, mutated

from infoprune.errors import BadStream
from infoprune.wire import Selection, decode, encode, read_stream, write_stream
from infoprune.wire.connection import SLICE


def reading(*pieces: bytes, ended: bool = True) -> asyncio.StreamReader:
    """A connection on which these have arrived."""
    reader = asyncio.StreamReader()
    for piece in pieces:
        reader.feed_data(piece)
    if ended:
        reader.feed_eof()
    return reader


async def read_from(*pieces: bytes, ended: bool = True, **limits: int) -> bytes | None:
    return await asyncio.wait_for(read_stream(reading(*pieces, ended=ended), **limits), 5)


async def all_of(reader: asyncio.StreamReader) -> list[bytes]:
    found = []
    while (stream := await read_stream(reader)) is not None:
        found.append(stream)
    return found


def test_streams_that_follow_each_other_are_read_one_by_one_however_they_arrive():
    async def run():
        data = b"".join(STREAMS)
        for size in (1, 7, 100, len(data)):
            pieces = [data[i : i + size] for i in range(0, len(data), size)]
            assert await all_of(reading(*pieces)) == STREAMS

    asyncio.run(run())


def test_what_is_written_over_a_socket_is_what_is_read():
    async def run():
        ours, theirs = socket.socketpair()
        reader, closing = await asyncio.open_connection(sock=ours)
        _, writer = await asyncio.open_connection(sock=theirs)
        features = torch.rand(2, 16, 64, 64, generator=torch.Generator().manual_seed(0))
        sent = encode(features, Selection.hard(16, range(16)))
        assert len(sent) > SLICE
        _, found = await asyncio.gather(write_stream(writer, sent), read_stream(reader))
        for each in (writer, closing):
            each.close()
            await each.wait_closed()
        assert torch.equal(decode(found), decode(sent))

    asyncio.run(run())


def head(length: int, magic: bytes = b"IPFS", version: int = 1) -> bytes:
    """The first 32 bytes as the page of the format has them."""
    return magic + bytes([version, 0, 0, 1]) + struct.pack("<QIIII", length, 1, 8, 4, 4)


@pytest.mark.parametrize(
    ("first", "told"),
    [
        (head(1 << 63), "announces 9223372036854775808 bytes and 1000 are the most"),
        (head(1001), "announces 1001 bytes and 1000 are the most"),
        (head(35), "announces 35 bytes, fewer than its header"),
        (head(100, magic=b"GET "), "begin with b'GET ' are no features stream"),
        (head(100, version=2), "has version 2, this release reads 1"),
    ],
    ids=["huge", "one too many", "too few", "other magic", "other version"],
)
def test_what_a_header_can_not_mean_is_refused_at_once(first, told):
    """The connection stays open and sends nothing more: whoever waited for the rest would wait for ever."""
    with pytest.raises(BadStream, match=told):
        asyncio.run(read_from(first, ended=False, most_bytes=1000))


def test_no_memory_is_taken_for_bytes_that_were_only_announced():
    async def run():
        reader = reading(head(1 << 30), b"x" * 1000, ended=False)
        task = asyncio.ensure_future(read_stream(reader, most_bytes=1 << 30))
        await asyncio.sleep(0)  # it runs up to where it waits
        peak = tracemalloc.get_traced_memory()[1]
        reader.feed_eof()
        with pytest.raises(BadStream, match="ended after 1000 of 1073741792 bytes"):
            await task
        return peak

    tracemalloc.start()
    peak = asyncio.run(run())
    tracemalloc.stop()
    assert peak < 1 << 20


def test_every_cut_is_noticed():
    for length in range(1, len(STREAMS[0])):
        with pytest.raises(BadStream):
            asyncio.run(read_from(STREAMS[0][:length]))


def test_a_connection_that_is_lost_is_a_bad_stream():
    async def run():
        reader = reading(STREAMS[0][:50], ended=False)
        reader.set_exception(ConnectionResetError("reset by peer"))
        await read_stream(reader)

    with pytest.raises(BadStream, match="was lost"):
        asyncio.run(run())


def test_no_changed_stream_comes_through():
    chance = random.Random(0)

    async def run():
        for i in range(1000):
            data = STREAMS[i % len(STREAMS)]
            changed = mutated(data, chance)
            if changed != data:
                with pytest.raises(BadStream):
                    for stream in await all_of(reading(changed)):
                        decode(stream)

    asyncio.run(run())


class Slow:
    """A writer whose other side has room for one piece at a time, whenever it is told so."""

    def __init__(self):
        self.written, self.room, self.asked = bytearray(), asyncio.Event(), asyncio.Event()

    def write(self, data: bytes) -> None:
        self.written += data

    async def drain(self) -> None:
        self.asked.set()
        await self.room.wait()
        self.room.clear()


def test_a_writer_waits_for_room_after_every_piece():
    async def run():
        slow, sent = Slow(), encode(torch.rand(16, 128, 128), Selection.hard(16, range(16)))
        task = asyncio.ensure_future(write_stream(slow, sent))
        for pieces in range(1, -(-len(sent) // SLICE) + 1):
            await slow.asked.wait()
            slow.asked.clear()
            assert len(slow.written) == min(pieces * SLICE, len(sent))
            slow.room.set()
        await task
        assert slow.written == sent

    asyncio.run(run())


@pytest.mark.parametrize("wrong", [b"", STREAMS[0][:-1], STREAMS[0] + b"x", b"x" * 100], ids=len)
def test_only_whole_streams_are_written(wrong):
    async def run():
        slow = Slow()
        with pytest.raises(BadStream):
            await write_stream(slow, wrong)
        assert not slow.written

    asyncio.run(run())


def test_reading_ends_where_the_connection_does():
    assert asyncio.run(read_from()) is None
