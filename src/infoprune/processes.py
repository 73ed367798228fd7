"""Several processes that train one model: torchrun's environment, and what they tell each other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Workers:
    """This process among `world`."""

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        return self.rank == 0

    @classmethod
    def now(cls) -> Workers:
        if not dist.is_available() or not dist.is_initialized():
            return cls()
        return cls(dist.get_rank(), dist.get_world_size())

    def mean(self, value: Tensor) -> Tensor:
        """The mean over all workers of a number that each has."""
        if self.world == 1:
            return value
        total = value.detach().clone()
        dist.all_reduce(total)
        return total / self.world

    def gathered(self, value: Any) -> list[Any]:
        """What each worker has, in the order of their ranks."""
        if self.world == 1:
            return [value]
        found: list[Any] = [None] * self.world
        dist.all_gather_object(found, value)
        return found

    def wait(self) -> None:
        if self.world > 1:
            dist.barrier()


@contextmanager
def joined() -> Iterator[Workers]:
    """The process group that torchrun's environment describes, for as long as this lasts; one worker without it."""
    if "RANK" not in os.environ or int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield Workers.now()
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield Workers.now()
    finally:
        dist.destroy_process_group()
