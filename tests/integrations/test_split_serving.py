"""An edge, a wire and a cloud are the network; what does not match is refused, and what waits is run together."""

import asyncio
import json
import signal
import ssl
import struct
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from addresses import Address, client_tls, server_tls
from cloud import Cloud, behind
from edge import Edge, Unreachable
from edge import main as edge_program
from messages import Hello, Later, Refused, RequestFailed
from tests.integrations.serving import (
    ALL,
    HELLO,
    HERE,
    MODEL,
    SPLIT,
    TASKS,
    Gate,
    edge_of,
    expected,
    picture,
    run,
    same,
    served,
    until,
)

import infoprune as ip
from infoprune.wire import HEVC, Selection, Zlib

ROOT = Path(__file__).parents[2]
PEM = str(Path(__file__).with_name("localhost.pem"))  # key and certificate of nobody, made for these tests


# ---------------------------------------------------------------------------------------- what the cloud answers is so


def features_by_hand(x):
    y = F.conv2d(x, MODEL.stem.weight, MODEL.stem.bias, 2, 1)
    inner = F.conv2d(y, MODEL.inner.weight, MODEL.inner.bias, padding=1)
    return F.relu(y + F.conv2d(F.relu(inner), MODEL.outer.weight, MODEL.outer.bias, padding=1))


def eight_bits_by_hand(features):
    """255 equal steps from each map's smallest to its largest value, as the page of the wire has it."""
    arrived = np.empty(features.shape, np.float32)
    for image, channel in np.ndindex(features.shape[:2]):
        values = features[image, channel].double().numpy()
        low, step = values.min(), (values.max() - values.min()) / 255
        arrived[image, channel] = low + np.round((values - low) / (step or 1)) * step
    return torch.from_numpy(arrived)


def heads_by_hand(y, size):
    heads = {
        "segmentation": F.conv2d(y, MODEL.classes.weight, MODEL.classes.bias),
        "disparity": F.conv2d(y, MODEL.depth.weight, MODEL.depth.bias),
    }
    return {task: F.interpolate(head, size=size, mode="bilinear") for task, head in heads.items()}


@pytest.mark.parametrize("way", ["tcp", "unix"])
@pytest.mark.parametrize("codec", ["lossless", "zlib", "hard"])
def test_answers_are_those_of_the_model_cut_by_hand_with_the_codec_applied(way, codec, tmp_path):
    kept = [0, 3, 6] if codec == "hard" else range(8)
    selection = ALL if codec == "lossless" else Selection.hard(8, kept, Zlib())
    address = HERE if way == "tcp" else Address(path=str(tmp_path / "s"))

    @torch.no_grad()
    def wanted(x):
        arrived = torch.zeros_like(features := features_by_hand(x))
        sent = features if codec == "lossless" else eight_bits_by_hand(features)
        arrived[:, list(kept)] = sent[:, list(kept)]
        return heads_by_hand(arrived, x.shape[-2:])

    async def test():
        async with served(address=address) as (_, place), edge_of(place, selection) as edge:
            for x in (picture(), picture(3, 3, 33, 18)):
                assert same(await edge.infer(x), wanted(x))

    run(test)
    assert not list(tmp_path.iterdir())


def test_many_clients_of_many_sizes_get_their_own_answers():
    """15 and 16 pixels give features of one size, and outputs of different ones."""
    sizes = ((1, 15, 16), (2, 16, 15), (1, 16, 16), (3, 24, 32), (1, 15, 15))

    async def client(place, number):
        async with edge_of(place) as edge:
            pictures = [picture(b, 3, h, w, seed=number) for b, h, w in sizes]
            found = await asyncio.gather(*map(edge.infer, pictures))
        return [same(each, expected(x)) for each, x in zip(found, pictures, strict=True)]

    async def test():
        async with served(together=3, at_once=2) as (cloud, place):
            assert all(map(all, await asyncio.gather(*(client(place, i) for i in range(6)))))
            assert cloud.meter.counts["answered"] == 30

    run(test)


def test_requests_that_wait_are_run_in_one_pass():
    gate = Gate()

    async def test():
        first, *others = [picture(seed=seed) for seed in range(4)]
        odd = picture(1, 3, 24, 24)
        async with served(gate, at_once=8, together=2) as (cloud, place), edge_of(place) as edge:
            tasks = [asyncio.create_task(edge.infer(first))]
            await until(lambda: gate.given)
            for number, x in enumerate([odd, *others], 1):
                tasks.append(asyncio.create_task(edge.infer(x)))
                await until(lambda number=number: len(cloud.together.waiting) == number)
            gate.way.set()
            found = await asyncio.gather(*tasks)
        assert [len(features) for features in gate.given] == [1, 1, 2, 1]
        with torch.no_grad():
            pair = heads_by_hand(torch.cat([features_by_hand(x) for x in others[:2]]), (16, 20))
        for place, answer in enumerate(found[2:4]):
            assert same(answer, {name: values[place : place + 1] for name, values in pair.items()})
        assert same(found[4], expected(others[2]))

    run(test)


def test_a_request_whose_client_is_gone_is_not_run():
    gate = Gate()

    async def test():
        async with served(gate) as (cloud, place), edge_of(place) as one, edge_of(place, delays=()) as other:
            first = asyncio.create_task(one.infer(picture()))
            await until(lambda: gate.given)
            second = asyncio.create_task(other.infer(picture(seed=1)))
            await until(lambda: cloud.together.waiting)
            for client in [task for task in cloud.clients if not task.done()]:
                client.cancel()
            with pytest.raises(Unreachable):
                await second
            gate.way.set()
            assert same(await first, expected(picture()))  # by a new connection
            assert len(gate.given) == 2

    run(test)


# ------------------------------------------------------------------------------------------------------------- refusal

OTHER = {
    "model": replace(HELLO, model="ResNet"),
    "weights": Hello.of(type(MODEL)(), "join", TASKS, ("zlib",)),
    "at": replace(HELLO, at="stem"),
    "tasks": replace(HELLO, tasks=("segmentation",)),
    "codec 'hevc'": replace(HELLO, codecs=("zlib", "hevc")),
    "protocol": replace(HELLO, protocol=2),
    "stream": replace(HELLO, stream=2),
}


@pytest.mark.parametrize("what", OTHER)
def test_an_edge_that_wants_something_else_is_told_what_differs(what):
    async def test():
        async with served() as (cloud, place):
            async with edge_of(place, hello=OTHER[what]) as edge:
                with pytest.raises(Refused, match=f"^{what} .*here"):
                    await edge.infer(picture())
            assert cloud.meter.counts["refused"] == 1  # it did not try again
            async with edge_of(place, hello=replace(HELLO, release="99.0", codecs=("lossless",))) as edge:
                assert same(await edge.infer(picture()), expected(picture()))

    run(test)


def test_weights_that_differ_in_one_digit_have_another_fingerprint():
    other = type(MODEL)()
    other.load_state_dict(MODEL.state_dict())
    assert Hello.of(other, "join") == Hello.of(MODEL, "join")
    with torch.no_grad():
        other.inner.weight[0, 0, 0, 0] += 1e-6
    assert Hello.of(other, "join").weights != HELLO.weights


def test_a_stream_by_another_codec_than_was_agreed_is_refused_and_the_next_is_answered():
    async def test():
        async with served() as (_, place), edge_of(place) as edge:
            edge.selection = Selection.hard(8, range(8), HEVC(20))
            with pytest.raises(RequestFailed, match="codec 'hevc' is not taken here, but zlib lossless"):
                await edge.infer(picture())
            edge.selection = ALL
            assert same(await edge.infer(picture()), expected(picture()))

    run(test)


def test_a_full_cloud_sends_away_and_serves_when_there_is_room():
    async def test():
        async with served(clients=1) as (cloud, place):
            async with edge_of(place) as one:
                await one.infer(picture())
                async with edge_of(place, delays=()) as other:
                    with pytest.raises(Unreachable, match="1 clients are served already") as caught:
                        await other.infer(picture())
                    assert isinstance(caught.value.__cause__, Later)
            await until(lambda: not cloud.clients)
            async with edge_of(place) as other:
                assert same(await other.infer(picture()), expected(picture()))

    run(test)


@pytest.mark.parametrize(
    ("limits", "x", "error", "told"),
    [
        ({"values": 100}, picture(), ValueError, "more than the cloud takes"),
        ({"stream_bytes": 100}, picture(), ValueError, "more than the cloud takes"),
        ({"together": 2}, picture(3, 3, 16, 16), RequestFailed, "3 images are more than 2"),
        ({"values": 1000}, picture(1, 3, 16, 16), RequestFailed, None),
    ],
    ids=["values", "bytes", "images", "just under"],
)
def test_what_is_more_than_the_cloud_takes_is_one_sentence(limits, x, error, told):
    async def test():
        async with served(**limits) as (_, place), edge_of(place) as edge:
            if told is None:
                assert same(await edge.infer(x), expected(x))
                return
            with pytest.raises(error, match=told):
                await edge.infer(x)

    run(test)


def test_features_of_more_values_than_allowed_are_not_decoded(monkeypatch):
    """A stream of constant maps is short whatever they hold."""
    monkeypatch.setattr("cloud.decode", lambda stream: pytest.fail("it was decoded"))

    async def test():
        async with served(values=100_000) as (_, place), edge_of(place) as edge:
            await edge._connected()
            with pytest.raises(RequestFailed, match="131072 values of one request are more than 100000"):
                await edge.connection.ask((1, 3, 16, 20), ip.wire.encode(torch.zeros(1, 8, 128, 128), ALL))

    run(test)


def test_what_the_network_does_not_take_is_told():
    async def test():
        async with served() as (_, place), edge_of(place) as edge:
            await edge.infer(picture())
            answer = edge.connection.ask((1, 2, 16, 20), ip.wire.encode(torch.rand(1, 8, 8, 10), ALL))
            with pytest.raises(RequestFailed, match="channels"):
                await answer
            wrong = edge.connection.ask((1, 3, 16, 20), ip.wire.encode(torch.rand(1, 8, 9, 10), ALL))
            with pytest.raises(RequestFailed, match=r"features have shape \(1, 8, 9, 10\)"):
                await wrong
            assert same(await edge.infer(picture()), expected(picture()))

    run(test)


# -------------------------------------------------------------------------------------------------- coming and going


def test_an_edge_connects_again_when_the_cloud_comes_back(tmp_path):
    address = Address(path=str(tmp_path / "s"))

    async def test():
        async with edge_of(address, delays=()) as edge:
            for _ in range(2):
                async with served(address=address):
                    assert same(await edge.infer(picture()), expected(picture()))
                with pytest.raises(Unreachable, match="did not answer in 1 tries"):
                    await edge.infer(picture())

    run(test)


def test_a_request_whose_connection_breaks_is_sent_again():
    gate = Gate()

    async def test():
        async with served(gate) as (cloud, place), edge_of(place) as edge:
            asked = asyncio.create_task(edge.infer(picture()))
            await until(lambda: gate.given)
            (client,) = cloud.clients
            client.cancel()
            gate.way.set()
            assert same(await asked, expected(picture()))
            assert edge.meter.counts["retries"] == 1

    run(test)


def test_an_answer_that_does_not_come_in_time_is_asked_for_again():
    gate = Gate()

    async def test():
        async with served(gate) as (_, place), edge_of(place, delays=(), answer_s=0.1) as edge:
            with pytest.raises(Unreachable, match="no answer in time"):
                await edge.infer(picture())
            gate.way.set()
            edge.answer_s = 60
            assert same(await edge.infer(picture()), expected(picture()))

    run(test)


def test_a_cloud_that_stops_answers_what_was_asked():
    gate = Gate()

    async def test():
        async with served(gate, at_once=3) as (cloud, place), edge_of(place, delays=()) as edge:
            asked = [asyncio.create_task(edge.infer(picture(seed=0)))]
            await until(lambda: gate.given)  # else all three may be computed together
            asked += [asyncio.create_task(edge.infer(picture(seed=seed))) for seed in (1, 2)]
            await until(lambda: len(cloud.together.waiting) == 2)
            async with edge_of(place, delays=()) as idle:
                await idle._connected()
                stopping = asyncio.create_task(cloud._stop())
                await until(lambda: cloud.stopping)
                await until(lambda: idle.connection.lost)
                assert "stopping" in idle.connection.lost
            gate.way.set()
            await stopping
            for seed, found in enumerate(await asyncio.gather(*asked)):
                assert torch.allclose(found["disparity"], expected(picture(seed=seed))["disparity"], atol=1e-6)

    run(test)


def test_a_client_that_is_idle_for_long_is_closed_and_comes_back():
    async def test():
        async with served(idle_s=0.05) as (cloud, place), edge_of(place) as edge:
            await edge.infer(picture())
            await until(lambda: edge.connection.lost and not cloud.clients)
            assert same(await edge.infer(picture()), expected(picture()))

    run(test)


def test_no_more_is_read_than_may_wait():
    gate = Gate()

    async def test():
        async with served(gate, at_once=3, waiting=4) as (cloud, place), edge_of(place) as one, edge_of(place) as two:
            started, answer = [], cloud._answer

            async def noted(*request):
                started.append(request)
                return await answer(*request)

            cloud._answer = noted
            for edge in (one, two):
                await edge._connected()
                edge.connection.room = asyncio.Semaphore(100)  # an edge that does not keep to what it was told
            tasks = [asyncio.create_task(one.infer(picture(seed=seed))) for seed in range(8)]
            await until(lambda: len(started) >= 3)
            tasks += [asyncio.create_task(two.infer(picture(seed=seed))) for seed in range(8)]
            await until(lambda: len(started) >= 4)
            for _ in range(200):  # time enough for all sixteen
                await asyncio.sleep(0)
            assert len(started) == 4
            gate.way.set()
            assert len(await asyncio.gather(*tasks)) == len(started) == 16

    run(test)


def test_halves_that_were_exported_are_served():
    x = picture(2, 3, 16, 20)
    edge_program, cloud_program = SPLIT.export(x, also=[x[:1]])
    told = Hello.from_bytes(HELLO.to_bytes())  # as a device keeps it that has no model

    async def test():
        cloud = Cloud(lambda features, shape: cloud_program.module()(features), HELLO)
        async with cloud.serving(HERE) as place, Edge(edge_program.module(), told, ALL, place) as edge:
            for batch in (1, 3):
                x = picture(batch, 3, 16, 20)
                found, wanted = await edge.infer(x), expected(x)
                assert all(torch.allclose(found[task], wanted[task], atol=1e-5) for task in TASKS)

    run(test)


# ------------------------------------------------------------------------------------------------------------------ TLS


@pytest.mark.parametrize("mutual", [False, True], ids=["the cloud's certificate", "both certificates"])
def test_it_runs_under_tls(mutual):
    async def test():
        async with served(tls=server_tls(PEM, PEM, PEM if mutual else None)) as (_, place):
            at = replace(place, host="localhost")
            async with edge_of(at, tls=client_tls(PEM, PEM, PEM)) as edge:
                assert same(await edge.infer(picture()), expected(picture()))
            async with edge_of(place, delays=()) as plain:
                with pytest.raises(Unreachable):
                    await plain.infer(picture())
            if mutual:
                async with edge_of(at, delays=(), tls=client_tls(None, None, PEM)) as nobody:
                    with pytest.raises(Unreachable):
                        await nobody.infer(picture())

    run(test)


def test_a_certificate_that_nobody_vouches_for_is_refused_at_once():
    async def test():
        cloud = served(tls=server_tls(PEM, PEM, None))
        async with cloud as (_, place), edge_of(place, tls=ssl.create_default_context()) as edge:
            with pytest.raises(Refused, match="not trusted: self-signed"):
                await edge.infer(picture())

    run(test)


# ------------------------------------------------------------------------------------- a client that knows bytes alone


def frame(kind, number, body):
    head = b"IPSP" + struct.pack("<BBHII", 1, kind, 0, number, len(body))
    return head + body + struct.pack("<I", zlib.crc32(head + body))


def features_stream(values):
    """One image's maps [8, H, W], bit for bit: 32 planes of bytes in a mosaic of 4 rows and 8 columns, deflated."""
    count, height, width = values.shape
    planes = np.moveaxis(values.view(np.uint8).reshape(count, height, width, 4), 3, 0).reshape(4, 8, height, width)
    mosaic = np.concatenate([np.concatenate(list(row), 1) for row in planes], 0)
    picture = zlib.compress(mosaic.tobytes())
    part = bytes([2, 0, 0xFF]) + struct.pack("<II", 0, len(picture)) + picture
    length = 4 + 4 + 8 + 16 + len(part) + 4
    head = b"IPFS" + bytes([1, 0, 1, 1]) + struct.pack("<QIIII", length, 1, count, height, width)
    return head + part + struct.pack("<I", zlib.crc32(head + part))


async def heard(reader):
    head = await reader.readexactly(16)
    magic, version, kind, zero, number, length = struct.unpack("<4sBBHII", head)
    body = await reader.readexactly(length)
    (checksum,) = struct.unpack("<I", await reader.readexactly(4))
    assert (magic, version, zero, checksum) == (b"IPSP", 1, 0, zlib.crc32(head + body))
    return kind, number, body


def outputs_in(body):
    _, _, waiting, count = struct.unpack_from("<ffIH", body)
    place, found = struct.calcsize("<ffIH"), {}
    for _ in range(count):
        (size,) = struct.unpack_from("<H", body, place)
        name = body[place + 2 : place + 2 + size].decode()
        kind, axes = body[place + 2 + size : place + 4 + size]
        place += 4 + size
        shape = struct.unpack_from(f"<{axes}I", body, place)
        place += 4 * axes
        assert kind == 0
        found[name] = torch.from_numpy(np.frombuffer(body, "<f4", int(np.prod(shape)), place).reshape(shape).copy())
        place += 4 * int(np.prod(shape))
    assert place == len(body)
    assert waiting == 0
    return found


def test_a_client_written_from_the_page_of_the_format_is_served():
    x = picture()
    hello = "protocol 1\nstream 1\nrelease none\nmodel Skip\nat join\ntasks segmentation disparity\ncodecs lossless\n"
    hello += f"weights {HELLO.weights}\n"
    with torch.no_grad():
        values = features_by_hand(x)[0].numpy()

    async def test():
        async with served() as (_, place):
            reader, writer = await asyncio.open_connection(place.host, place.port)
            writer.write(frame(1, 0, hello.encode()))
            kind, number, body = await heard(reader)
            assert (kind, number) == (2, 0)
            assert b"at_once 4\nstream_bytes 16777216\nvalues 16777216\n" in body
            for number in (7, 0xFFFFFFFF):
                writer.write(frame(4, number, struct.pack("<B4I", 4, 1, 3, 16, 20)) + features_stream(values))
                kind, answered, body = await heard(reader)
                assert (kind, answered) == (5, number)
                assert same(outputs_in(body), expected(x))
            writer.write_eof()
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()

    run(test)


# --------------------------------------------------------------------------------------------------------- the programs

NET = """
import torch
from torch import nn

class Net(nn.Sequential):
    def __init__(self):
        torch.manual_seed(0)
        super().__init__(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.Flatten(2))
"""


def started(*words):
    command = [sys.executable, str(ROOT / "integrations" / "split" / "cloud.py"), *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_the_programs_serve_and_end(tmp_path, monkeypatch, capsys):
    (tmp_path / "net.py").write_text(NET)
    images = np.random.default_rng(0).random((5, 3, 16, 16), np.float32)
    np.save(tmp_path / "in.npy", images)
    shared = (f"unix:{tmp_path / 'split'}", "--model", f"{tmp_path / 'net.py'}:Net", "--every", "1e6")

    def edge(*words):
        monkeypatch.setattr(sys, "argv", ["edge.py", *shared, "--inputs", str(tmp_path / "in.npy"), *words])
        edge_program()
        return json.loads(capsys.readouterr().out)

    cloud = started(*shared, "--at", "1", "--size", 3, 16, 16)
    try:
        assert cloud.stdout.readline().startswith("serving Net ")
        line = edge("--at", "1", "--outputs", str(tmp_path / "out.npz"), "--codec", "lossless")
        assert line["answered"] == 5
        assert {"sent_bytes", "edge_ms", "encode_ms", "queue_ms", "cloud_ms", "total_ms", "waiting"} <= line.keys()
        with pytest.raises(SystemExit, match=r"^at is '1' here and '0' there$"):
            edge("--at", "0")
        cloud.send_signal(signal.SIGTERM)
        told, complaint = cloud.communicate(timeout=60)
    finally:
        cloud.kill()
        cloud.communicate()
    assert cloud.returncode == 0, complaint
    line = json.loads(told)
    assert (line["answered"], line["refused"], line["waiting"]) == (5, 1, 0)
    assert {"received_bytes", "sent_bytes", "decode_ms", "queue_ms", "model_ms", "together"} <= line.keys()
    assert not (tmp_path / "split").exists()
    names: dict = {}
    exec(NET, names)
    with torch.no_grad():
        wanted = names["Net"]().eval()(torch.from_numpy(images))
    torch.testing.assert_close(torch.from_numpy(np.load(tmp_path / "out.npz")["output"]), wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("text", ["nowhere", "unix:", "host:port", "host:70000", ":7000"])
def test_what_is_no_address_is_told(text):
    with pytest.raises(ValueError, match="give HOST:PORT or unix:PATH"):
        Address.of(text)


def test_behind_answers_for_the_size_that_it_is_told():
    x, other = picture(1, 3, 15, 20), picture(1, 3, 16, 20)
    compute = behind(SPLIT)
    with torch.no_grad():
        features = SPLIT.edge(x)
    SPLIT.edge(other)
    assert same(compute(features, tuple(x.shape)), expected(x))
