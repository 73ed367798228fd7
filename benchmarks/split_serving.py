"""A network served in two halves on this machine: requests a second, how long each takes, and what travels.

    OMP_NUM_THREADS=1 python benchmarks/split_serving.py [--requests 200] [--clients 8]

The cloud is integrations/split/cloud.py in a process of its own, one for each way, behind a Unix socket; the edges
share this process. Ways take turns, so that whatever else the machine does falls on all of them:

    local           the whole network here, with the same clients and no wire
    whole           the same steps, cut before the first layer; the picture travels, as 8-bit levels
    split           cut behind `layer2`, all of its maps as 8-bit levels
    split, half     half of its maps
    split, exact    all of its maps, bit for bit
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import timm
import torch
from results_file import ResultsFile, arguments
from torch import Tensor, nn

import infoprune as ip
from infoprune.wire import Lossless, Selection, Zlib

if TYPE_CHECKING:
    from edge import Edge

PROGRAMS = Path(__file__).parents[1] / "integrations" / "split"
MAPS, ROUNDS = 128, 5
WAYS = {
    "whole": ("picture", Selection.hard(3, range(3), Zlib())),
    "split": ("net.layer2", Selection.hard(MAPS, range(MAPS), Zlib())),
    "split, half": ("net.layer2", Selection.hard(MAPS, range(0, MAPS, 2), Zlib())),
    "split, exact": ("net.layer2", Selection.hard(MAPS, range(MAPS), Lossless())),
}
Infer = Callable[[Tensor], Awaitable[Tensor]]


class Net(nn.Module):
    """ResNet-18 with random weights, and a layer that gives out the picture, to cut there."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.picture, self.net = nn.Identity(), timm.create_model("resnet18")

    def forward(self, x: Tensor) -> Tensor:
        return self.net(self.picture(x))


def started(way: str, folder: Path, size: int) -> subprocess.Popen[str]:
    """A cloud that listens."""
    command = [sys.executable, str(PROGRAMS / "cloud.py"), f"unix:{folder / way}", "--model", f"{__file__}:Net"]
    command += ["--at", WAYS[way][0], "--size", "3", str(size), str(size), "--every", "1e6"]
    cloud = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert cloud.stdout is not None
    assert cloud.stdout.readline().startswith("serving")
    return cloud


def cpu_s_of(process: int) -> float:
    """CPU seconds of another process so far, as Linux counts them."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def asked(infer: list[Infer], pictures: Tensor) -> tuple[list[float], list[Tensor]]:
    """Milliseconds and outputs of each picture; every client asks for its next one as soon as it has an answer."""
    found: dict[int, tuple[float, Tensor]] = {}
    left = iter(range(len(pictures)))

    async def client(one: Infer) -> None:
        for number in left:
            begun = time.perf_counter()
            output = await one(pictures[number : number + 1])
            found[number] = 1e3 * (time.perf_counter() - begun), output

    await asyncio.gather(*map(client, infer))
    return [found[i][0] for i in range(len(pictures))], [found[i][1] for i in range(len(pictures))]


class Way:
    """What one way has taken so far."""

    def __init__(self, infer: list[Infer], process: int | None, edges: Sequence[Edge] = ()):
        self.infer, self.process, self.edges = infer, process, edges
        self.ms: list[float] = []
        self.outputs: list[Tensor] = []
        self.wall_s = self.here_s = self.there_s = 0.0

    async def round(self, pictures: Tensor) -> None:
        there, here, begun = self._cloud_s(), time.process_time(), time.perf_counter()
        ms, outputs = await asked(self.infer, pictures)
        self.wall_s += time.perf_counter() - begun
        self.here_s += time.process_time() - here
        self.there_s += self._cloud_s() - there
        self.ms += ms
        self.outputs += outputs

    def _cloud_s(self) -> float:
        return cpu_s_of(self.process) if self.process else 0.0

    def sent(self) -> int:
        """Bytes since the last time that somebody asked."""
        return sum(json.loads(edge.meter.line())["sent_bytes"] for edge in self.edges)

    def row(self, wanted: list[Tensor]) -> dict[str, float | list[float]]:
        count = len(self.ms)
        off = max(float((a - b).abs().max()) for a, b in zip(self.outputs, wanted, strict=True))
        return {
            "per_s": count / self.wall_s,
            "ms": np.percentile(self.ms, [50, 90, 99]).round(2).tolist(),
            "edge_cpu_ms": 1e3 * self.here_s / count,
            "cloud_cpu_ms": 1e3 * self.there_s / count,
            "sent_bytes": self.sent() / count,
            "off": off / max(float(each.abs().max()) for each in wanted),
        }


def local(model: nn.Module, pool: ThreadPoolExecutor) -> Infer:
    """The network by itself, in one thread."""

    @torch.no_grad()
    def forward(x: Tensor) -> Tensor:
        return model(x)

    async def infer(x: Tensor) -> Tensor:
        return await asyncio.get_running_loop().run_in_executor(pool, forward, x)

    return infer


def remote(edge: Edge) -> Infer:
    """The whole way to the cloud and back."""

    async def infer(x: Tensor) -> Tensor:
        return (await edge.infer(x))[""]

    return infer


def edges_of(way: str, model: nn.Module, folder: Path, count: int) -> list[Edge]:
    from addresses import Address
    from edge import Edge
    from messages import Hello

    at, selection = WAYS[way]
    half = ip.split.SplitModel(model, at=at).edge
    hello = Hello.of(model, at, codecs=(selection.parts[0].codec.name,))
    return [Edge(half, hello, selection, Address(path=str(folder / way))) for _ in range(count)]


async def measured(options: argparse.Namespace, folder: Path, clouds: dict[str, subprocess.Popen[str]]) -> list[dict]:
    """A row for each way."""
    pictures = torch.rand(options.requests, 3, options.size, options.size, generator=torch.Generator().manual_seed(0))
    model = Net().eval()
    with ThreadPoolExecutor(1) as pool:
        ways = {"local": Way([local(model, pool)] * options.clients, None)}
        async with AsyncExitStack() as stack:
            for name, cloud in clouds.items():
                edges = edges_of(name, model, folder, options.clients)
                for edge in edges:
                    await stack.enter_async_context(edge)
                ways[name] = Way([remote(edge) for edge in edges], cloud.pid, edges)
            for way in ways.values():
                await asked(way.infer, pictures[: 8 * options.clients])  # connections are made, shapes learned
                way.sent()
            for part in pictures.chunk(ROUNDS):
                for way in ways.values():
                    await way.round(part)
            return [{"way": name, **way.row(ways["local"].outputs)} for name, way in ways.items()]


def ended(cloud: subprocess.Popen[str]) -> dict:
    """The cloud's last line of figures."""
    cloud.send_signal(signal.SIGTERM)
    told, _ = cloud.communicate(timeout=60)
    return json.loads(told.splitlines()[-1])


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--clients", type=int, default=8, help="that wait for one answer each")
    parser.add_argument("--size", type=int, default=128, help="pixels a side")
    options = parser.parse_args()
    if options.smoke:
        options.requests, options.clients, options.size = 10, 2, 32
    torch.set_num_threads(1)
    sys.path.insert(0, str(PROGRAMS))
    results = ResultsFile.of(options, "split_serving", key=("way", "requests", "clients", "size"))
    with tempfile.TemporaryDirectory() as folder:
        clouds = {}
        try:
            for way in WAYS:
                clouds[way] = started(way, Path(folder), options.size)
            rows = asyncio.run(measured(options, Path(folder), clouds))
            figures = {way: ended(cloud) for way, cloud in clouds.items()}
        finally:
            for cloud in clouds.values():
                cloud.kill()
                cloud.communicate()
    about = {"requests": options.requests, "clients": options.clients, "size": options.size}
    for row in rows:
        results.append({**row, **about, "cloud": figures.get(row["way"], {})})


if __name__ == "__main__":
    main()
