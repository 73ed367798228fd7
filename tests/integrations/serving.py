"""A cloud and its edges in one process, for tests; whoever uses them leaves no task, thread or socket behind."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import torch
from addresses import Address
from cloud import Cloud, Limits, behind
from edge import Edge
from messages import Hello
from tests.split.split_nets import Skip
from torch import Tensor

import infoprune as ip
from infoprune.wire import Lossless, Selection

TASKS = ("segmentation", "disparity")
ALL = Selection.hard(8, range(8), Lossless())
HERE = Address(host="127.0.0.1")


def network() -> Skip:
    torch.manual_seed(0)
    return Skip().eval()


def picture(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape or (1, 3, 16, 20), generator=torch.Generator().manual_seed(seed))


MODEL = network()
SPLIT = ip.split.SplitModel(MODEL, at="join", heads=TASKS)
HELLO = Hello.of(MODEL, "join", TASKS, ("zlib", "lossless"))


def run(test: Callable[[], Awaitable[Any]]) -> Any:
    """What the test gives, in an event loop of its own in which nothing is left over."""

    async def whole() -> Any:
        found = await asyncio.wait_for(test(), 120)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return found

    before = sockets(), threading.active_count()
    found = asyncio.run(whole())
    gc.collect()
    assert (sockets(), threading.active_count()) == before
    return found


def sockets() -> int:
    """Open ones of this process, as Linux tells it."""
    links = [os.readlink(each) for each in Path("/proc/self/fd").iterdir() if each.is_symlink()]
    return sum(link.startswith("socket:") for link in links)


async def until(true: Callable[[], Any]) -> None:
    """Wait for what other tasks and threads bring about."""
    while not true():
        await asyncio.sleep(0.001)


class Gate:
    """A cloud half that computes when it is told to, and notes what it was given."""

    def __init__(self, compute: Callable[..., Any] | None = None, *, is_open: bool = False):
        self.compute, self.given, self.way = compute or behind(SPLIT), [], threading.Event()
        if is_open:
            self.way.set()

    def __call__(self, features: Tensor, shape: tuple[int, ...]) -> Any:
        self.given.append(features)
        assert self.way.wait(60)
        return self.compute(features, shape)


@asynccontextmanager
async def served(
    compute: Callable[..., Any] | None = None, address: Address = HERE, tls: Any = None, **limits: Any
) -> AsyncIterator[tuple[Cloud, Address]]:
    cloud = Cloud(compute or behind(SPLIT), HELLO, Limits(**limits))
    async with cloud.serving(address, tls) as place:
        try:
            yield cloud, place
        finally:
            if isinstance(compute, Gate):
                compute.way.set()


def edge_of(place: Address, selection: Selection = ALL, hello: Hello = HELLO, **options: Any) -> Edge:
    return Edge(SPLIT.edge, hello, selection, place, **{"delays": (0, 0), **options})


def same(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> bool:
    return found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)


@torch.no_grad()
def expected(x: Tensor) -> dict[str, Tensor]:
    """What the whole model says."""
    return MODEL(x)
