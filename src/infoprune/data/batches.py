"""Batches by their number: step k of a training is a pure function of (seed, k)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from infoprune.data.base import Examples, Targets
from infoprune.data.randomness import shuffled

Batch = tuple[Tensor, Targets]


@dataclass(frozen=True)
class Steps(Dataset):
    """Batch number k of an endless training: shuffled anew every epoch, the last incomplete batch left out.

    Of `world` processes that share a batch, number `rank` gets every `world`-th example.
    """

    examples: Examples
    batch: int
    seed: int = 0
    rank: int = 0
    world: int = 1

    @property
    def per_epoch(self) -> int:
        return max(1, len(self.examples) // self.batch)

    def __getitem__(self, step: int) -> Batch:
        epoch, place = divmod(step, self.per_epoch)
        order = shuffled(len(self.examples), self.seed, epoch)
        return self.examples.batch(
            epoch, order[place * self.batch : (place + 1) * self.batch][self.rank :: self.world].tolist()
        )

    def between(self, start: int, stop: int, *, workers: int = 0) -> Iterable[Batch]:
        """Batches start, ..., stop - 1, read ahead by `workers` processes."""
        return DataLoader(self, batch_size=None, sampler=range(start, stop), num_workers=workers)


@dataclass(frozen=True)
class InOrder(Dataset):
    """All examples once, as they are in epoch 0; the last batch may be smaller."""

    examples: Examples
    batch: int
    workers: int = 0

    def __len__(self) -> int:
        return -(-len(self.examples) // self.batch)

    def __getitem__(self, place: int) -> Batch:
        return self.examples.batch(0, range(len(self.examples))[place * self.batch : (place + 1) * self.batch])

    def __iter__(self) -> Iterator[Batch]:
        return iter(DataLoader(self, batch_size=None, num_workers=self.workers))


@dataclass(frozen=True)
class First:
    """The first `samples` examples of a shuffled epoch 0, in batches: what importances are calibrated on.

    Can be run through any number of times. Of `world` processes, number `rank` gets every `world`-th batch.
    """

    examples: Examples
    samples: int
    batch: int
    seed: int = 0
    rank: int = 0
    world: int = 1

    def __len__(self) -> int:
        return len(range(self.rank, -(-self.total // self.batch), self.world))

    @property
    def total(self) -> int:
        return min(self.samples, len(self.examples))

    @property
    def dataset(self) -> range:
        """As many as this process gets, where loaders say it."""
        return range(len(self.places))

    @property
    def places(self) -> list[int]:
        """Of every example that this process gets, in their order, its number among those of all."""
        return [place for part in self._of_mine(torch.arange(self.total)) for place in part.tolist()]

    def _of_mine(self, all_of_them: Tensor) -> Sequence[Tensor]:
        return all_of_them.split(self.batch)[self.rank :: self.world]

    def __iter__(self) -> Iterator[Batch]:
        for part in self._of_mine(shuffled(len(self.examples), self.seed, 0)[: self.total]):
            yield self.examples.batch(0, part.tolist())
