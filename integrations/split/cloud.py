"""The cloud's program: serves the part of a network behind a layer to many edges at once.

    python integrations/split/cloud.py 0.0.0.0:7010 --model runs/pruned --at layer2 --size 3 224 224
    python integrations/split/cloud.py unix:/run/split.sock --model net.py:Net --at neck --size 3 256 512 --tasks depth

It prints where it listens, then a line of figures as JSON every --every seconds. SIGTERM and SIGINT end it: what was
asked is answered, nothing more is read.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import math
import signal
import ssl
import sys
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import torch
from addresses import Address, bound, closed, forget, listen, server_tls, tls_options
from frames import BadFrame, Frame, Kind, read_frame, write_frame
from messages import SMALL, Answer, Hello, Request, Welcome, Why, failure, named
from meter import Meter
from together import Compute, Done, NotDivisible, Together, require_divisible
from torch import Tensor, nn

import infoprune as ip
from infoprune.errors import BadStream, first_line
from infoprune.models import own_network
from infoprune.own_code import file_and_name
from infoprune.wire import decode, describe, read_stream
from infoprune.wire.connection import read_whole

LOG = logging.getLogger("split.cloud")


@dataclass(frozen=True)
class Limits:
    """What edges may ask for, and how long anything may take."""

    clients: int = 64
    waiting: int = 64  # requests of all clients that are read and not computed; then nobody is read from
    at_once: int = 4  # requests of one client that are read and not answered
    together: int = 16  # images in one pass
    stream_bytes: int = 1 << 24
    values: int = 1 << 24  # of one input, and of its features
    idle_s: float = 300  # between requests
    request_s: float = 10  # for a hello, or for a request once it has begun
    write_s: float = 10  # for a client to take an answer
    grace_s: float = 10  # for answers when the cloud is stopped


class Cloud:
    """Serves `compute` to whoever says the right hello.

    Each connection has a task that reads requests and one that writes answers in their order. A client that sends
    faster than the model computes is not read from; one that does not read its answers is dropped after `write_s`.
    """

    def __init__(self, compute: Compute, hello: Hello, limits: Limits | None = None):
        self.hello, self.limits, self.meter = hello, limits or Limits(), Meter()
        self.together = Together(compute, most_images=self.limits.together)
        self.pool = ThreadPoolExecutor(1, "streams")
        self.places = asyncio.Semaphore(self.limits.waiting)
        self.clients: set[asyncio.Task] = set()
        self.readings: set[asyncio.Task] = set()
        self.stopping = False

    @asynccontextmanager
    async def serving(self, address: Address, tls: ssl.SSLContext | None = None) -> AsyncIterator[Address]:
        """Listen at the address, which is told with the port that was found; in the end, answer what was asked."""
        server = await listen(address, self._client, tls)
        model = asyncio.create_task(self.together.run())
        try:
            yield bound(server, address)
        finally:
            server.close()
            forget(address)
            await self._stop()
            model.cancel()
            await asyncio.gather(model, return_exceptions=True)
            self.together.close()
            self.pool.shutdown()

    async def _stop(self) -> None:
        self.stopping = True
        for reading in self.readings:
            reading.cancel()
        if self.clients:
            await asyncio.wait(self.clients, timeout=self.limits.grace_s)
        for client in self.clients:
            client.cancel()
        await asyncio.gather(*self.clients, return_exceptions=True)

    # ---------------------------------------------------------------------------------------------- one connection

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.clients.add(task)
        task.add_done_callback(self.clients.discard)
        self.meter.add(connected=1)
        try:
            if await self._greeted(reader, writer):
                await self._conversation(reader, writer)
            await closed(writer, within_s=self.limits.write_s)
        except (BadStream, OSError, asyncio.TimeoutError) as error:
            self._dropped(error)
        except asyncio.CancelledError:
            if not self.stopping:
                raise
        finally:
            await closed(writer)

    async def _greeted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether this client is served; if not, it has been told why."""
        limits = self.limits
        try:
            frame = await asyncio.wait_for(read_frame(reader, most_bytes=SMALL), limits.request_s)
            if frame is None:
                return False
            if frame.kind != Kind.HELLO:
                raise BadFrame(f"the first frame is {frame.kind.name}; begin with HELLO")
            why, refusal = Why.WRONG, self.hello.refusal(Hello.from_bytes(frame.body))
        except BadStream as error:
            why, refusal = Why.WRONG, str(error)
        if refusal is None and (len(self.clients) > limits.clients or self.stopping):
            why, refusal = Why.LATER, f"{limits.clients} clients are served already; try again later"
        if refusal is None:
            said = Frame(Kind.WELCOME, 0, Welcome(limits.at_once, limits.stream_bytes, limits.values).to_bytes())
        else:
            self.meter.add(refused=1)
            said = failure(Kind.REFUSED, 0, why, refusal)
        await asyncio.wait_for(write_frame(writer, said), limits.write_s)
        return refusal is None

    async def _conversation(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Requests are read and answers written until the client ends, errs or stalls, or the cloud stops."""
        talk = _Talk(reader, writer, self.limits.at_once)
        reading, writing = asyncio.create_task(self._read(talk)), asyncio.create_task(self._write(talk))
        self.readings.add(reading)
        try:
            await asyncio.wait({reading, writing}, return_when=asyncio.FIRST_COMPLETED)
            if reader.exception() is not None:
                raise BadFrame("the connection was lost")
            if not writing.done():  # the client is done, or has erred: what it asked before is answered all the same
                talk.answers.put_nowait(self._last_word(reading))
                await writing
            writing.result()
        finally:
            self.readings.discard(reading)
            for task in (reading, writing, *talk.jobs):
                task.cancel()
            await asyncio.gather(reading, writing, *talk.jobs, return_exceptions=True)

    def _last_word(self, reading: asyncio.Task) -> Frame | None:
        """What is said to a client before the connection is closed, if anything."""
        if reading.cancelled():
            return failure(Kind.FAILED, 0, Why.LATER, "the cloud is stopping; try again, or elsewhere")
        error = reading.exception()
        if error is None:
            return None
        self._dropped(error)
        if isinstance(error, asyncio.TimeoutError):
            return failure(Kind.FAILED, 0, Why.LATER, "nothing came in time; connect again")
        known = isinstance(error, BadStream)
        return failure(Kind.FAILED, 0, Why.LATER if known else Why.BROKEN, first_line(error))

    def _dropped(self, error: BaseException) -> None:
        self.meter.add(dropped=1)
        LOG.info("a client is dropped: %s", first_line(error))

    async def _read(self, talk: _Talk) -> None:
        """Read requests, no more of them than may wait; ends with the connection."""
        limits = self.limits
        while True:
            await talk.room.acquire()
            begun = await asyncio.wait_for(read_whole(talk.reader, 1), limits.idle_s)
            if begun is None:
                return
            number, shape, stream = await asyncio.wait_for(self._request(talk.reader, begun), limits.request_s)
            self.meter.add(received_bytes=len(stream))
            await self.places.acquire()
            job = asyncio.create_task(self._answer(number, shape, stream))
            job.add_done_callback(lambda _: self.places.release())
            talk.jobs.add(job)
            talk.answers.put_nowait(job)

    async def _request(self, reader: asyncio.StreamReader, begun: bytes) -> tuple[int, tuple[int, ...], bytes]:
        frame = await read_frame(reader, most_bytes=SMALL, begun=begun)
        if frame is None or frame.kind != Kind.REQUEST:
            raise BadFrame(f"a {frame.kind.name if frame else 'cut'} frame came where requests do; send REQUEST")
        request = Request.from_bytes(frame.body)
        stream = await read_stream(reader, most_bytes=self.limits.stream_bytes)
        if stream is None:
            raise BadFrame("the connection ended between a request and its stream")
        return frame.number, request.shape, stream

    async def _write(self, talk: _Talk) -> None:
        """Write answers in the order of their requests, and the last word."""
        while isinstance(job := await talk.answers.get(), asyncio.Task):
            frame = await job
            talk.jobs.discard(job)
            await asyncio.wait_for(write_frame(talk.writer, frame), self.limits.write_s)
            self.meter.add(sent_bytes=len(frame.body), **{"answered" if frame.kind == Kind.ANSWER else "failed": 1})
            talk.room.release()
        if job is not None:
            await asyncio.wait_for(write_frame(talk.writer, job), self.limits.write_s)

    # ------------------------------------------------------------------------------------------------- one request

    async def _answer(self, number: int, shape: tuple[int, ...], stream: bytes) -> Frame:
        """The answer, or why there is none."""
        loop = asyncio.get_running_loop()
        try:
            features, decode_ms = await loop.run_in_executor(self.pool, self._features, shape, stream)
            done = await self.together.answer(features, shape)
            self.meter.see(decode_ms=decode_ms, queue_ms=done.queue_ms, model_ms=done.model_ms, together=done.images)
            return await loop.run_in_executor(self.pool, self._packed, number, decode_ms, done)
        except (ip.InfopruneError, ValueError, TypeError, RuntimeError) as error:
            return failure(Kind.FAILED, number, Why.WRONG, f"{type(error).__name__}: {first_line(error)}")
        except Exception as error:
            LOG.exception("a request failed")
            return failure(Kind.FAILED, number, Why.BROKEN, f"the cloud failed ({type(error).__name__})")

    def _features(self, shape: tuple[int, ...], stream: bytes) -> tuple[Tensor, float]:
        """What the stream holds, if it is small enough and came by an agreed codec; and the ms that it took."""
        begun, told = time.perf_counter(), describe(stream)
        values = max(math.prod(shape), math.prod(told.shape))
        if values > self.limits.values:
            raise ValueError(f"{values} values of one request are more than {self.limits.values}; send fewer images")
        if shape[0] > self.limits.together:
            raise ValueError(f"{shape[0]} images are more than {self.limits.together} of one request; send fewer")
        foreign = {part.codec.name for part in told.selection.parts} - set(self.hello.codecs)
        if foreign:
            raise ValueError(f"codec {min(foreign)!r} is not taken here, but {' '.join(self.hello.codecs)}")
        return decode(stream), 1e3 * (time.perf_counter() - begun)

    def _packed(self, number: int, decode_ms: float, done: Done) -> Frame:
        outputs, cloud_ms = dict(named(done.outputs)), decode_ms + done.model_ms
        answer = Answer(outputs, done.queue_ms, cloud_ms, len(self.together.waiting))
        return Frame(Kind.ANSWER, number, answer.to_bytes())


class _Talk:
    """A connection with what was asked and not yet answered."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, at_once: int):
        self.reader, self.writer, self.room = reader, writer, asyncio.Semaphore(at_once)
        self.answers: asyncio.Queue[asyncio.Task[Frame] | Frame | None] = asyncio.Queue()
        self.jobs: set[asyncio.Task[Frame]] = set()


# --------------------------------------------------------------------------------------------------------- the program


def behind(split: ip.split.SplitModel) -> Compute:
    """The cloud half of a split model, for inputs of any size that it takes."""

    @torch.no_grad()
    def compute(features: Tensor, shape: tuple[int, ...]) -> Any:
        split.cloud.expect((torch.empty(shape, device="meta"),), features)
        return split.cloud(features)

    return compute


def network(named: str) -> nn.Module:
    """An artefact's directory, or net.py:NAME for what a function or class in a file of one's own makes."""
    own = file_and_name(named)
    return (ip.load(named) if own is None else own_network(*own, {})).eval()


def checked(split: ip.split.SplitModel, size: list[int], together: int) -> Compute:
    """The half to be served, which has computed something already."""
    compute, x = behind(split), torch.rand(1, *size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features = split.edge(x)
    compute(features, tuple(x.shape))
    if together > 1:
        require_divisible(compute, features, tuple(x.shape))
    return compute


def options_of(parser: argparse.ArgumentParser) -> None:
    """What edges and clouds are told alike."""
    parser.add_argument("address", type=Address.of, help="HOST:PORT or unix:PATH")
    parser.add_argument("--model", required=True, help="an artefact's directory, or net.py:NAME")
    parser.add_argument("--at", required=True, help="the layer whose output travels")
    parser.add_argument("--tasks", nargs="+", default=[], help="names among the model's outputs; all without it")
    parser.add_argument("--every", type=float, default=10.0, help="seconds between lines of figures")
    tls_options(parser)


async def told_every(seconds: float, line: Any) -> None:
    while True:
        await asyncio.sleep(seconds)
        print(line(), flush=True)


async def serve(options: argparse.Namespace) -> None:
    model = network(options.model)
    split = ip.split.SplitModel(model, at=options.at, heads=options.tasks or None)
    compute = checked(split, options.size, options.together)
    hello = Hello.of(model, options.at, options.tasks, options.codecs)
    limits = Limits(clients=options.clients, together=options.together)
    cloud, stop, loop = Cloud(compute, hello, limits), asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    def line() -> str:
        return cloud.meter.line(clients=len(cloud.clients), waiting=len(cloud.together.waiting))

    async with cloud.serving(options.address, server_tls(options.cert, options.key, options.ca)) as place:
        print(f"serving {hello.model} {hello.weights} behind {hello.at} at {place}", flush=True)
        figures = asyncio.create_task(told_every(options.every, line))
        await stop.wait()
        figures.cancel()
    print(line(), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options_of(parser)
    parser.add_argument("--size", nargs="+", type=int, required=True, help="of one example input, as 3 224 224")
    parser.add_argument("--codecs", nargs="+", default=["zlib", "lossless"], help="that are taken")
    parser.add_argument("--clients", type=int, default=Limits.clients, help="at once")
    parser.add_argument("--together", type=int, default=Limits.together, help="the most images in one pass")
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(name)s: %(message)s")
    try:
        asyncio.run(serve(parser.parse_args()))
    except (ip.InfopruneError, NotDivisible, OSError, ValueError) as error:
        sys.exit(first_line(error))


if __name__ == "__main__":
    main()
