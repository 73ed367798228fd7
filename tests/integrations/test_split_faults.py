"""Clients that are cut off, damaged, stalled, too large, out of date or slow: nobody else notices, nothing is left."""

import asyncio
import gc
import random
import resource
import socket
import struct

import pytest
import torch
from addresses import closed
from frames import Frame, Kind, read_frame
from messages import SMALL, Request
from tests.integrations.serving import (
    ALL,
    HELLO,
    MODEL,
    SPLIT,
    Gate,
    edge_of,
    expected,
    picture,
    run,
    same,
    served,
    sockets,
    until,
)
from tests.wire.test_hostile_streams import mutated

from infoprune.wire import encode

WELCOMED = Frame(Kind.HELLO, 0, HELLO.to_bytes()).to_bytes()


def request(number: int = 1, seed: int = 0) -> bytes:
    x = picture(seed=seed)
    with torch.no_grad():
        stream = encode(SPLIT.edge(x), ALL)
    return Frame(Kind.REQUEST, number, Request(tuple(x.shape)).to_bytes()).to_bytes() + stream


WHOLE = WELCOMED + request()
ANSWERED = len(WELCOMED), len(WELCOMED) + 16 + 17 + 4  # where the request begins, and its stream


async def says(place, data: bytes, *, ends: bool = True) -> list[Frame]:
    """All that a client hears who sends these bytes, and then nothing more (or hangs on)."""
    reader, writer = await asyncio.open_connection(place.host, place.port)
    frames = []
    try:
        writer.write(data)
        if ends:
            writer.write_eof()
        while (frame := await read_frame(reader, most_bytes=1 << 20)) is not None:
            frames.append(frame)
    except (OSError, ValueError):  # dropped in the middle of a word
        pass
    finally:
        await closed(writer)
    return frames


async def the_next_is_served(cloud, place) -> None:
    async with edge_of(place, delays=()) as edge:
        assert same(await edge.infer(picture()), expected(picture()))
    await until(lambda: not cloud.clients)
    assert not cloud.together.waiting
    assert cloud.places._value == cloud.limits.waiting


def kinds(frames: list[Frame]) -> list[str]:
    return [frame.kind.name for frame in frames]


def test_a_client_that_is_cut_off_anywhere_is_forgotten():
    async def test():
        async with served() as (cloud, place):
            for length in [*range(0, len(WHOLE), 97), *ANSWERED, len(WHOLE) - 1]:
                frames = await says(place, WHOLE[:length])
                assert "ANSWER" not in kinds(frames)
            assert kinds(await says(place, WHOLE)) == ["WELCOME", "ANSWER"]
            await the_next_is_served(cloud, place)

    run(test)


def test_a_client_that_vanishes_while_it_is_answered_is_forgotten():
    gate = Gate()

    async def test():
        async with served(gate) as (cloud, place):
            _reader, writer = await asyncio.open_connection(place.host, place.port)
            writer.write(WHOLE)
            await until(lambda: gate.given)
            hung_up = struct.pack("ii", 1, 0)  # closed with a reset, as by a device that loses its power and restarts
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, hung_up)
            await closed(writer)
            await until(lambda: not cloud.clients)
            gate.way.set()
            await the_next_is_served(cloud, place)

    run(test)


def test_damage_is_noticed_wherever_it_is():
    """Every client says hello, or something like it, and asks, or something like it; nothing wrong is answered."""
    chance = random.Random(0)

    async def test():
        wanted = (await says_to_a_cloud())[-1].body[10:]  # all but the times
        async with served() as (cloud, place):
            for i in range(120):
                data = mutated(WHOLE, chance) if i % 3 else WELCOMED + mutated(WHOLE[len(WELCOMED) :], chance)
                frames = await says(place, data)
                answers = [frame.body[10:] for frame in frames if frame.kind == Kind.ANSWER]
                assert answers in ([], [wanted]), i
            await the_next_is_served(cloud, place)

    async def says_to_a_cloud():
        async with served() as (_, place):
            return await says(place, WHOLE)

    run(test)


def test_rubbish_is_dropped():
    chance = random.Random(1)

    async def test():
        async with served() as (cloud, place):
            for data in (b"GET / HTTP/1.1\r\n\r\n", b"\0" * 100, *(chance.randbytes(50) for _ in range(20))):
                frames = await says(place, data)
                assert kinds(frames) in ([], ["REFUSED"])
                frames = await says(place, WELCOMED + data)
                assert kinds(frames) in (["WELCOME"], ["WELCOME", "FAILED"])
            await the_next_is_served(cloud, place)

    run(test)


@pytest.mark.parametrize("sent", [0, 10, len(WELCOMED), len(WELCOMED) + 5, ANSWERED[1], ANSWERED[1] + 10])
def test_a_client_that_stalls_is_dropped_in_time(sent):
    """It keeps the connection open and says nothing more."""

    async def test():
        async with served(request_s=0.05, idle_s=0.05) as (cloud, place):
            frames = await asyncio.wait_for(says(place, WHOLE[:sent], ends=False), 30)
            assert "ANSWER" not in kinds(frames)
            await until(lambda: not cloud.clients)
            assert cloud.meter.counts["dropped"] == 1
            cloud.limits.__dict__.update(request_s=30, idle_s=30)
            await the_next_is_served(cloud, place)

    run(test)


@pytest.mark.parametrize(
    "data",
    [
        Frame(Kind.HELLO, 0, bytes(SMALL + 1)).to_bytes(),
        WELCOMED + Frame(Kind.REQUEST, 1, bytes(SMALL + 1)).to_bytes(),
        WHOLE[: ANSWERED[1]] + b"IPFS" + bytes([1, 0, 1, 1]) + (1 << 40).to_bytes(8, "little") + bytes(16),
    ],
    ids=["hello", "request", "stream"],
)
def test_what_is_too_large_is_refused_before_it_arrives(data):
    async def test():
        async with served() as (cloud, place):
            frames = await asyncio.wait_for(says(place, data, ends=False), 30)
            assert "ANSWER" not in kinds(frames)
            assert cloud.meter.counts["received_bytes"] == 0
            await the_next_is_served(cloud, place)

    run(test)


@pytest.mark.parametrize("data", [b"IPSP\x02" + WELCOMED[5:], WELCOMED.replace(b"IPSP\x01\x01", b"IPSP\x01\x04")])
def test_a_client_of_another_version_or_order_is_told(data):
    async def test():
        async with served() as (cloud, place):
            assert kinds(await says(place, data)) == ["REFUSED"]
            await the_next_is_served(cloud, place)

    run(test)


def test_a_slow_reader_is_dropped_and_keeps_nobody_waiting():
    """Its answers are 4 MB each, more than the two kernels hold for it; meanwhile others are served."""

    def large(features, shape):
        return torch.zeros(shape[0], 1 << 20) if shape[-1] == 20 else MODEL.depth(features)

    async def test():
        gate = Gate(torch.no_grad()(large), is_open=True)
        async with served(gate, write_s=0.5, at_once=4, together=1) as (cloud, place):
            _reader, writer = await asyncio.open_connection(place.host, place.port, limit=1 << 12)
            writer.write(WELCOMED + b"".join(request(number) for number in range(1, 9)))
            await until(lambda: len(gate.given) >= 4)
            async with edge_of(place, delays=()) as edge:
                assert (await edge.infer(picture(1, 3, 16, 16)))[""].shape == (1, 1, 8, 8)
            assert len(gate.given) <= 9
            await until(lambda: not cloud.clients)
            assert cloud.meter.counts["dropped"] == 1
            await closed(writer)

    run(test)


def test_a_fault_of_the_cloud_itself_is_told_and_survived():
    calls = []

    def faulty(features, shape):
        calls.append(shape)
        if len(calls) == 1:
            raise ZeroDivisionError("one by none")
        return MODEL.depth(features)

    async def test():
        async with served(torch.no_grad()(faulty)) as (_, place):
            first, second = [
                (await says(place, WHOLE))[1] for _ in range(2)
            ]  # one after the other, in batches of their own
            assert (first.kind, first.body) == (Kind.FAILED, b"\x03the cloud failed (ZeroDivisionError)")
            assert second.kind == Kind.ANSWER

    run(test)


def test_nothing_grows_with_the_number_of_faults():
    chance = random.Random(2)

    async def some(cloud, place, count):
        for _ in range(count):
            await says(place, mutated(WHOLE, chance))
        await the_next_is_served(cloud, place)
        gc.collect()
        tasks = len(asyncio.all_tasks())
        return tasks, sockets(), len(gc.get_objects()), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    async def test():
        async with served() as (cloud, place):
            await some(cloud, place, 100)
            tasks, open_sockets, objects, memory = await some(cloud, place, 10)
            more_tasks, more_sockets, more_objects, more_memory = await some(cloud, place, 150)
            assert (more_tasks, more_sockets) == (tasks, open_sockets)
            assert more_objects - objects < 150  # less than one object for each client
            assert more_memory - memory < 20 << 10  # kB; each sent a few kB

    run(test)
