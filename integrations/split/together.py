"""Requests that wait are run together: whatever fits beside the first of them, in one pass of the model."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

Compute = Callable[[Tensor, tuple[int, ...]], Any]  # features, and the shape of the inputs they come from


class NotDivisible(ValueError):
    """Outputs of which nobody can say which part belongs to which input."""


@dataclass(frozen=True)
class Done:
    """What one request is told."""

    outputs: Any
    queue_ms: float
    model_ms: float
    images: int  # of all requests that ran together


@dataclass(eq=False)
class Job:
    """A request that waits."""

    features: Tensor
    shape: tuple[int, ...]
    future: asyncio.Future[Done]
    since: float = field(default_factory=time.perf_counter)

    @property
    def kind(self) -> tuple:
        """Jobs of one kind differ in the number of images alone."""
        return self.shape[1:], self.features.shape[1:], self.features.dtype, len(self.features) / self.shape[0]


class Together:
    """A queue before a model that runs in one thread: while it runs, requests gather, and the next pass takes them.

    Nothing waits for company: a request that finds the model idle is run at once. At most `most_images` run together.
    """

    def __init__(self, compute: Compute, *, most_images: int):
        self.compute, self.most_images = compute, most_images
        self.waiting: deque[Job] = deque()
        self.some = asyncio.Event()
        self.thread = ThreadPoolExecutor(1, "model")

    async def answer(self, features: Tensor, shape: tuple[int, ...]) -> Done:
        """What the model says of these features. Whoever is cancelled while waiting is not run."""
        job = Job(features, shape, asyncio.get_running_loop().create_future())
        self.waiting.append(job)
        self.some.set()
        return await job.future

    async def run(self) -> None:
        """Serve until cancelled."""
        while True:
            await self.some.wait()
            jobs = self._next()
            if not jobs:
                self.some.clear()
                continue
            begun = time.perf_counter()
            try:
                loop = asyncio.get_running_loop()
                outputs, ms = await loop.run_in_executor(self.thread, self._pass, jobs)
            except Exception as error:
                for job in jobs:
                    _tell(job, error)
                continue
            images = sum(job.shape[0] for job in jobs)
            for job, part in zip(jobs, outputs, strict=True):
                _tell(job, Done(part, 1e3 * (begun - job.since), ms, images))

    def close(self) -> None:
        self.thread.shutdown(cancel_futures=True)

    def _next(self) -> list[Job]:
        """The job that waits longest, and those of its kind that fit beside it."""
        wanted = [job for job in self.waiting if not job.future.done()]
        taken, images = wanted[:1], wanted[0].shape[0] if wanted else 0
        for job in wanted[1:]:
            if job.kind == taken[0].kind and images + job.shape[0] <= self.most_images:
                taken.append(job)
                images += job.shape[0]
        self.waiting = deque(job for job in wanted if job not in taken)
        return taken

    def _pass(self, jobs: Sequence[Job]) -> tuple[list[Any], float]:
        """In the model's thread: one pass, and each job's part of it."""
        begun, counts = time.perf_counter(), [job.shape[0] for job in jobs]
        features = torch.cat([job.features for job in jobs]) if len(jobs) > 1 else jobs[0].features
        outputs = self.compute(features, (sum(counts), *jobs[0].shape[1:]))
        return divided(outputs, counts), 1e3 * (time.perf_counter() - begun)


def _tell(job: Job, told: Done | Exception) -> None:
    if job.future.done():  # cancelled in the meantime
        return
    if isinstance(told, Exception):
        job.future.set_exception(told)
    else:
        job.future.set_result(told)


def divided(outputs: Any, counts: Sequence[int]) -> list[Any]:
    """The part of the outputs that each of so many images in turn gave.

    >>> divided({"a": torch.arange(3)}, [1, 2])
    [{'a': tensor([0])}, {'a': tensor([1, 2])}]
    """
    if len(counts) == 1:
        return [outputs]
    if isinstance(outputs, Tensor) and outputs.dim() and len(outputs) == sum(counts):
        return list(outputs.split(list(counts)))
    if isinstance(outputs, Mapping):
        parts = {key: divided(value, counts) for key, value in outputs.items()}
        return [{key: part[i] for key, part in parts.items()} for i in range(len(counts))]
    if isinstance(outputs, list | tuple) and all(isinstance(each, Mapping) for each in outputs):  # as detectors do
        if len(outputs) == sum(counts):
            ends = torch.tensor(counts).cumsum(0).tolist()
            return [list(outputs[end - count : end]) for end, count in zip(ends, counts, strict=True)]
    elif isinstance(outputs, list | tuple):
        return [list(each) for each in zip(*(divided(value, counts) for value in outputs), strict=True)]
    raise NotDivisible(f"outputs without a batch axis of {sum(counts)} can't be shared out; serve with --together 1")


def require_divisible(compute: Compute, features: Tensor, shape: tuple[int, ...]) -> None:
    """Raise NotDivisible unless one image and two run together give what each gives by itself."""
    one, images = features[: len(features) // shape[0]], shape[1:]
    three = compute(torch.cat([one, one * 0.5, one * 2]), (3, *images))
    alone = compute(one, (1, *images))
    first = divided(three, [1, 2])[0]
    if not _alike(first, alone):
        raise NotDivisible("an image's outputs depend on the others of its batch; serve with --together 1")


def _alike(a: Any, b: Any) -> bool:
    """But for rounding, which may be another in a larger batch."""
    if isinstance(a, Tensor):
        if a.shape != b.shape or not a.is_floating_point() or not a.numel():
            return torch.equal(a, b)
        return torch.allclose(a, b, rtol=1e-3, atol=1e-4 * float(b.abs().max()))
    if isinstance(a, Mapping):
        return all(_alike(a[key], b[key]) for key in a)
    return all(map(_alike, a, b))
