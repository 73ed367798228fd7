"""The edge's program: runs a network up to a layer, sends what the layer gives out, and prints what the cloud answers.

    python integrations/split/edge.py cloud.example:7010 --model runs/pruned --at layer2 --inputs pictures.npy

`--inputs` holds an array [images, ...]; each image is a request, and `--at-once` of them are under way at a time. In
the end a line of figures as JSON is printed, and `--outputs out.npz` keeps what was answered.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import ssl
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from addresses import Address, client_tls, closed, connect
from cloud import network, options_of, told_every
from frames import BadFrame, Frame, Kind, read_frame, write_frame
from messages import SMALL, Answer, Hello, Later, Lost, Refused, Request, Welcome, failed
from meter import Meter
from torch import Tensor

import infoprune as ip
from infoprune.errors import BadStream, first_line
from infoprune.wire import Selection, codecs, encode, write_stream
from infoprune.wire.codec import codec_at

PASSING = (OSError, BadStream, asyncio.TimeoutError, Later)  # another try may go well
DELAYS = (0.1, 0.3, 1.0, 3.0)


class Unreachable(ip.InfopruneError, ConnectionError):
    """A cloud that did not answer, try after try."""


class Edge:
    """The half of a network in front of a layer, and a connection to the cloud that has the other.

    `infer` may be called by several tasks at once; their requests share the connection. A connection that fails is made
    again, and what was not answered is sent again, after each of `delays` (s).
    """

    def __init__(
        self,
        half: Callable[[Tensor], Tensor],
        hello: Hello,
        selection: Selection,
        address: Address,
        *,
        tls: ssl.SSLContext | None = None,
        answer_s: float = 30,
        answer_bytes: int = 1 << 28,
        delays: Sequence[float] = DELAYS,
    ):
        self.half, self.hello, self.selection, self.address = half, hello, selection, address
        self.tls, self.answer_s, self.answer_bytes, self.delays = tls, answer_s, answer_bytes, delays
        self.meter, self.pool = Meter(), ThreadPoolExecutor(1, "edge")
        self.connection: Connection | None = None
        self.connecting = asyncio.Lock()

    async def __aenter__(self) -> Edge:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.connection:
            await self.connection.close("this edge is done")
        self.pool.shutdown()

    async def infer(self, x: Tensor) -> dict[str, Tensor]:
        """The model's outputs for inputs [images, ...] by name; a single output has the name ""."""
        begun = time.perf_counter()
        stream = await asyncio.get_running_loop().run_in_executor(self.pool, self._stream, x)
        for delay in (*self.delays, None):
            try:
                answer = await self._answer(tuple(x.shape), stream)
                break
            except ssl.SSLCertVerificationError as error:
                raise Refused(
                    f"{self.address} shows a certificate that is not trusted: {error.verify_message}"
                ) from error
            except PASSING as error:
                self.meter.add(retries=1)
                if delay is None:
                    told = f"{self.address} did not answer in {len(self.delays) + 1} tries: {_said(error)}"
                    raise Unreachable(told) from error
                await asyncio.sleep(delay)
        total = 1e3 * (time.perf_counter() - begun)
        self.meter.see(total_ms=total, queue_ms=answer.queue_ms, cloud_ms=answer.cloud_ms, waiting=answer.waiting)
        self.meter.add(answered=1, sent_bytes=len(stream))
        return dict(answer.outputs)

    @torch.no_grad()
    def _stream(self, x: Tensor) -> bytes:
        begun = time.perf_counter()
        features = self.half(x)
        middle = time.perf_counter()
        if features.dim() != 4:
            raise ValueError(f"{self.hello.at!r} gives out {tuple(features.shape)}; the wire carries maps [B, C, H, W]")
        stream = encode(features, self.selection)
        self.meter.see(edge_ms=1e3 * (middle - begun), encode_ms=1e3 * (time.perf_counter() - middle))
        return stream

    async def _answer(self, shape: tuple[int, ...], stream: bytes) -> Answer:
        connection = await self._connected()
        try:
            return await asyncio.wait_for(connection.ask(shape, stream), self.answer_s)
        except (asyncio.TimeoutError, OSError, BadStream) as error:  # whatever else comes over it can't be trusted
            await connection.close(_said(error))
            raise

    async def _connected(self) -> Connection:
        async with self.connecting:
            if self.connection is None or self.connection.lost:
                if self.connection:
                    await self.connection.close("it is made again")
                begin = Connection.made(self.address, self.tls, self.hello, self.answer_bytes)
                self.connection = await asyncio.wait_for(begin, self.answer_s)
            return self.connection


class Connection:
    """A connection to a cloud that has welcomed this edge, with the requests that wait for their answers."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, welcome: Welcome, answer_bytes: int):
        self.reader, self.writer, self.welcome, self.answer_bytes = reader, writer, welcome, answer_bytes
        self.room, self.turn = asyncio.Semaphore(welcome.at_once), asyncio.Lock()
        self.pending: dict[int, asyncio.Future[Answer]] = {}
        self.number, self.lost = 0, ""
        self.reading = asyncio.create_task(self._read())

    @classmethod
    async def made(cls, address: Address, tls: ssl.SSLContext | None, hello: Hello, answer_bytes: int) -> Connection:
        """Connect and say hello; raises Refused if the cloud serves something else, Later if it is full."""
        reader, writer = await connect(address, tls)
        try:
            await write_frame(writer, Frame(Kind.HELLO, 0, hello.to_bytes()))
            frame = await read_frame(reader, most_bytes=SMALL)
            if frame is None:
                raise Lost(f"{address} closed the connection before a word")
            if frame.kind == Kind.REFUSED:
                raise failed(frame)
            if frame.kind != Kind.WELCOME:
                raise BadFrame(f"{address} answers a hello with {frame.kind.name}; is that another service?")
            return cls(reader, writer, Welcome.from_bytes(frame.body), answer_bytes)
        except BaseException:
            await closed(writer)
            raise

    async def ask(self, shape: tuple[int, ...], stream: bytes) -> Answer:
        """Send a request when there is room for it, and wait for its answer."""
        self._require_fits(shape, stream)
        async with self.room:
            async with self.turn:
                if self.lost:
                    raise Lost(self.lost)
                number = self.number = self.number % 0xFFFFFFFF + 1
                await self._send(number, shape, stream)
            try:
                return await self.pending[number]
            finally:
                self.pending.pop(number, None)

    async def _send(self, number: int, shape: tuple[int, ...], stream: bytes) -> None:
        self.pending[number] = asyncio.get_running_loop().create_future()
        try:
            await write_frame(self.writer, Frame(Kind.REQUEST, number, Request(shape).to_bytes()))
            await write_stream(self.writer, stream)
        except BaseException as error:  # half a request was sent, and nothing can follow it
            self.pending.pop(number)
            self._fail(f"a request was sent in part: {_said(error)}")
            raise

    def _require_fits(self, shape: tuple[int, ...], stream: bytes) -> None:
        most = self.welcome
        if len(stream) > most.stream_bytes or math.prod(shape) > most.values:
            raise ValueError(
                f"an input of {shape} and a stream of {len(stream)} bytes are more than the cloud takes "
                f"({most.values} values, {most.stream_bytes} bytes); send fewer images at once"
            )

    async def _read(self) -> None:
        """Hand answers to those who wait, until the connection ends."""
        try:
            while (frame := await read_frame(self.reader, most_bytes=self.answer_bytes)) is not None:
                self._hear(frame)
            self._fail("the cloud closed the connection")
        except (BadStream, OSError, Later) as error:
            self._fail(_said(error))

    def _hear(self, frame: Frame) -> None:
        if frame.kind == Kind.FAILED and not frame.number:
            raise Lost(_said(failed(frame)))
        if frame.kind not in (Kind.ANSWER, Kind.FAILED):
            raise BadFrame(f"the cloud said {frame.kind.name} where answers come")
        waiting = self.pending.get(frame.number)
        if waiting is None or waiting.done():  # somebody gave up
            return
        if frame.kind == Kind.FAILED:
            waiting.set_exception(failed(frame))
        else:
            waiting.set_result(Answer.from_bytes(frame.body))

    def _fail(self, why: str) -> None:
        self.lost = self.lost or why
        for waiting in self.pending.values():
            if not waiting.done():
                waiting.set_exception(Lost(self.lost))

    async def close(self, why: str) -> None:
        self._fail(why)
        self.reading.cancel()
        await asyncio.gather(self.reading, return_exceptions=True)
        await closed(self.writer)


def _said(error: BaseException) -> str:
    return "no answer in time" if isinstance(error, asyncio.TimeoutError) else first_line(error)


# --------------------------------------------------------------------------------------------------------- the program


async def ask_all(edge: Edge, images: np.ndarray, at_once: int) -> list[dict[str, Tensor]]:
    """What the cloud says of each image, so many of them under way at a time."""
    room = asyncio.Semaphore(at_once)

    async def one(image: np.ndarray) -> dict[str, Tensor]:
        async with room:
            return await edge.infer(torch.from_numpy(image[None].astype(np.float32)))

    return await asyncio.gather(*map(one, images))


async def run(options: argparse.Namespace) -> None:
    model, images = network(options.model), np.load(options.inputs, mmap_mode="r")
    split = ip.split.SplitModel(model, at=options.at, heads=options.tasks or None)
    with torch.no_grad():
        features = split.edge(torch.from_numpy(images[:1].astype(np.float32))).shape[1]
    codec = codec_at(codecs[options.codec], options.qp)
    selection = Selection.hard(features, range(features) if options.features is None else options.features, codec)
    hello = Hello.of(model, options.at, options.tasks, (options.codec,))
    tls = client_tls(options.cert, options.key, options.ca)
    async with Edge(split.edge, hello, selection, options.address, tls=tls) as edge:
        figures = asyncio.create_task(told_every(options.every, edge.meter.line))
        answers = await ask_all(edge, images, options.at_once)
        figures.cancel()
        print(edge.meter.line(), flush=True)
    if options.outputs:
        found: dict[str, Any] = {name or "output": [a[name].numpy() for a in answers] for name in answers[0]}
        np.savez(options.outputs, **{name: np.concatenate(values) for name, values in found.items()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options_of(parser)
    parser.add_argument("--inputs", required=True, help="a .npy file of images")
    parser.add_argument("--outputs", help="a .npz file for what is answered")
    parser.add_argument("--features", nargs="+", type=int, help="indices of those that are sent; all without it")
    parser.add_argument("--codec", default="zlib", help="a name of `infoprune list codecs`")
    parser.add_argument("--qp", type=int, default=0, help="of codecs that have one")
    parser.add_argument("--at-once", type=int, default=2, help="images under way at a time")
    try:
        asyncio.run(run(parser.parse_args()))
    except (ip.InfopruneError, OSError, ValueError) as error:
        sys.exit(first_line(error))


if __name__ == "__main__":
    main()
