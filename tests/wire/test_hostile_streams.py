"""Streams that nobody should have sent: a typed error each, in little time and memory."""

import random
import resource
import struct
import time
import tracemalloc

import pytest
import torch
from tests.wire.test_stream import resealed
from tests.wire.wire_samples import CODECS, maps

from infoprune.errors import BadStream
from infoprune.wire import HEVC, Lossless, Selection, Zlib, decode, describe, encode
from infoprune.wire.codec import deflate
from infoprune.wire.stream import HEAD

STREAMS = [encode(maps(6, 9, 11), Selection.soft(6, [1, 4], codec)) for codec in CODECS]
STREAMS += [encode(maps(2, 5, 4, 3), Selection.hard(5, [0, 3], codec)) for codec in (Zlib(), Lossless(), HEVC(30))]


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Bits flipped, bytes set, stretches removed, doubled or zeroed."""
    found = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 3, 10))):
        place, span = chance.randrange(len(found)), chance.randrange(1, 12)
        match chance.randrange(6):
            case 0 | 1:
                found[place] ^= 1 << chance.randrange(8)
            case 2:
                found[place] = chance.randrange(256)
            case 3 if len(found) > 24:
                del found[place : place + span]
            case 4:
                found[place:place] = found[place : place + span]
            case _:
                found[place : place + 4] = chance.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\0\0\1\x42"))
    return bytes(found)


def test_no_change_on_the_way_goes_unnoticed():
    chance = random.Random(0)
    for i in range(2000):
        data = STREAMS[i % len(STREAMS)]
        changed = mutated(data, chance)
        if changed != data:
            with pytest.raises(BadStream):
                decode(changed)


def test_streams_made_up_with_a_right_checksum_fail_cleanly_or_hold_what_they_announce():
    """A checksum keeps out accidents, not attackers: headers, ranges and payloads are checked one by one."""
    chance, refused, memory = random.Random(1), 0, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    for i in range(2000):
        data = resealed(mutated(STREAMS[i % len(STREAMS)][:-4], chance))
        try:
            found = decode(data)
        except BadStream:
            refused += 1
        else:
            assert found.shape == describe(data).shape
    assert refused > 1000
    assert time.process_time() - started < 60
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 200 << 10  # kB


@pytest.mark.parametrize("data", STREAMS, ids=range(len(STREAMS)))
def test_every_cut_is_noticed(data):
    for length in range(0, len(data), max(1, len(data) // 60)):
        for found in (data[:length], resealed(data[:length])) if length > 16 else (data[:length],):
            with pytest.raises(BadStream):
                decode(found)


def with_head(data: bytes, **changes: int) -> bytes:
    names = ("magic", "version", "kind", "batched", "parts", "length", "images", "features", "height", "width")
    head = dict(zip(names, HEAD.unpack_from(data), strict=True)) | changes
    return resealed(HEAD.pack(*head.values()) + data[HEAD.size : -4])


@pytest.mark.parametrize(
    "changes",
    [
        {"images": 2**32 - 1, "batched": 1},
        {"images": 0},
        {"images": 2},
        {"features": 2**32 - 1},
        {"features": 0},
        {"features": 65_535, "height": 32, "width": 32},
        {"height": 2**32 - 1, "width": 2**32 - 1},
        {"height": 0},
        {"height": 60_000, "width": 1000},
        {"kind": 5},
        {"parts": 0},
        {"parts": 3},
        {"batched": 2},
    ],
    ids=str,
)
@pytest.mark.parametrize("data", [STREAMS[0], STREAMS[1], STREAMS[3]], ids=["zlib", "lossless", "hevc"])
def test_impossible_headers_are_refused_before_memory_is_taken(data, changes):
    tracemalloc.start()
    with pytest.raises(BadStream):
        decode(with_head(data, **changes))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def part_of(number: int, qp: int, ranges: bytes, picture: bytes) -> bytes:
    """A stream of one 8 x 8 map, sent like this."""
    head = HEAD.pack(b"IPFS", 1, 0, 0, 1, 0, 1, 1, 8, 8)
    return resealed(head + bytes([number, qp, 1]) + struct.pack("<II", len(ranges), len(picture)) + ranges + picture)


def pieces(codec):
    picture = codec.encode(torch.arange(64, dtype=torch.uint8).view(8, 8).numpy())
    return deflate(struct.pack("<ff", -1, 1)), picture


def test_the_pieces_make_a_stream():
    assert decode(part_of(1, 0, *pieces(Zlib()))).shape == (1, 8, 8)


@pytest.mark.parametrize(("number", "qp"), [(0, 0), (99, 0), (1, 7), (3, 52), (3, 255)])
def test_unknown_codecs_are_refused(number, qp):
    with pytest.raises(BadStream, match=r"does not know|is none"):
        decode(part_of(number, qp, *pieces(Zlib())))


@pytest.mark.parametrize("ends", [(1, -1), (float("nan"), 1), (0, float("inf"))])
def test_ranges_that_are_none_are_refused(ends):
    with pytest.raises(BadStream, match="ranges are not finite"):
        decode(part_of(1, 0, deflate(struct.pack("<ff", *ends)), pieces(Zlib())[1]))


def test_a_bomb_is_not_unpacked():
    bomb = part_of(1, 0, pieces(Zlib())[0], deflate(bytes(16 << 20)))
    tracemalloc.start()
    with pytest.raises(BadStream, match="do not hold the 64"):
        decode(bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20
