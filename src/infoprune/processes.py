"""Several processes that train one model: torchrun's environment, and what they tell each other."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from infoprune.errors import InfopruneError

J = TypeVar("J")
T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """This process among `world`."""

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        return self.rank == 0

    @classmethod
    def now(cls) -> Processes:
        if not dist.is_available() or not dist.is_initialized():
            return cls()
        return cls(dist.get_rank(), dist.get_world_size())

    def mean(self, value: Tensor) -> Tensor:
        """The mean over all processes of a number that each has."""
        if self.world == 1:
            return value
        total = value.detach().clone()
        dist.all_reduce(total)
        return total / self.world

    def gathered(self, value: Any) -> list[Any]:
        """What each process has, in the order of their ranks."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value)
        return values

    def wait(self) -> None:
        if self.world > 1:
            dist.barrier()


def over_processes(value: T) -> T:
    """The sum of what each process has, in the order of their ranks; alone the value."""
    return reduce(add, Processes.now().gathered(value))


def by_turns(jobs: Sequence[J], work: Callable[[J], T]) -> list[T]:
    """`work` of every job, in the order of the jobs; processes take turns, and an error of one is raised by all."""
    us, done, failure = Processes.now(), [], None
    try:
        for job in jobs[us.rank :: us.world]:
            done.append(work(job))
    except Exception as error:
        if us.world == 1:
            raise
        failure = error
    message = failure if failure is None or isinstance(failure, InfopruneError) else InfopruneError(repr(failure))
    parts = us.gathered((done, message))  # whoever failed meets the others too, who would wait for it
    failed = failure or next((error for _, error in parts if error is not None), None)
    if failed is not None:
        raise failed
    return [parts[place % us.world][0][place // us.world] for place in range(len(jobs))]


@contextmanager
def joined() -> Iterator[Processes]:
    """The process group that torchrun's environment describes, for as long as this lasts; one process without it."""
    if "RANK" not in os.environ or int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield Processes.now()
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield Processes.now()
    finally:
        dist.destroy_process_group()
