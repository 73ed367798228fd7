"""A loader read several times, its samples in three parts: two halves to fit on, and an eighth held out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch

from infoprune.errors import UnusableData
from infoprune.observe.batches import Batch, first, read
from infoprune.observe.undisturbed import kept_randomness
from infoprune.processes import over_processes
from infoprune.progress import counting

Fold = Literal["first", "second", "held out"]
FITTED: tuple[Fold, Fold] = ("second", "first")
TURNS: tuple[Fold, ...] = ("first", *FITTED, "held out", *FITTED * 5, "second", "held out")
FEWEST = len(TURNS) // 2  # then each fold has some


@dataclass(frozen=True)
class Pictures:
    """The first `samples` samples of a loader, on a device; nothing of them is held but for the batch at hand.

    A loader that can be read once only, an iterator, is held in memory instead. Every pass begins with the random
    number generators where they were, so that a loader which draws its order from them repeats it. Of several
    processes, `places` are the numbers of this one's samples among those of all: part by part they then have together
    what one would that reads all. Without them each counts its own.
    """

    batches: Iterable[Any]
    samples: int
    device: torch.device
    progress: bool
    purpose: str = "compensation"
    places: Sequence[int] | None = None
    _seen: list[int] = field(default_factory=list)

    @classmethod
    def of(
        cls, loader: Iterable[Any], samples: int, device: torch.device, *, progress: bool,
        purpose: str = "compensation", places: Sequence[int] | None = None,
    ) -> Pictures:  # fmt: skip
        if not isinstance(loader, Iterable):
            raise TypeError(f"loader is {type(loader).__name__}; pass an iterable of batches, like a DataLoader")
        if not isinstance(samples, int) or isinstance(samples, bool):
            raise TypeError(f"samples is {samples!r}; give a whole number of at least {FEWEST}")
        if samples < FEWEST:
            raise UnusableData(f"samples is {samples}; {purpose} needs at least {FEWEST}")
        if isinstance(loader, Iterator):
            with kept_randomness():
                loader = [_as_given(batch) for batch in first(read(loader), samples)]
        return cls(loader, samples, device, progress, purpose, places)

    @property
    def counts(self) -> tuple[int, int]:
        """How many samples of the last whole pass were there to fit on, and how many held out."""
        held = sum(self._fold(i) == "held out" for i in range(self._seen[0]))
        fitted, held = over_processes(torch.tensor([self._seen[0] - held, held])).tolist()
        return fitted, held

    def parts(self, wanted: Iterable[Fold], about: str) -> Iterator[tuple[Fold, Batch]]:
        """One pass over the loader: of every batch the samples of each wanted part, by turns."""
        seen, wanted = 0, set(wanted)
        one: Batch | None = None  # as long as all samples are this one
        with kept_randomness(), counting(self.samples, about, "sample", shown=self.progress) as done:
            for batch in first(read(self.batches), self.samples):
                for part in sorted(wanted):
                    picked = [i for i in range(len(batch)) if self._fold(seen + i) == part]
                    if picked:
                        at = self._place(seen + picked[0])
                        yield part, replace(batch.map(_picked(picked)).to(self.device), place=at)
                one = batch.map(_picked([0])) if not seen else one
                one = None if one is None or _differs(batch, one) else one
                seen += len(batch)
                done(len(batch))
        self._seen[:] = [seen]
        if seen < FEWEST:
            amount = f"gave {seen} samples" if seen else "is empty"
            raise UnusableData(f"the loader {amount}; {self.purpose} needs at least {FEWEST}, better 256 and more")
        if one is not None:
            raise UnusableData(f"all {seen} samples are the same one; {self.purpose} needs different ones, better 256")

    def _place(self, seen: int) -> int:
        return seen if self.places is None else self.places[seen]

    def _fold(self, seen: int) -> Fold:
        return TURNS[self._place(seen) % len(TURNS)]


def _picked(places: list[int]) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda t: t[places]


def _differs(batch: Batch, one: Batch) -> bool:
    if [t.shape[1:] for t in batch.inputs] != [t.shape[1:] for t in one.inputs]:
        return True
    return not all(torch.equal(a, b.expand_as(a)) for a, b in zip(batch.inputs, one.inputs, strict=True))


def _as_given(batch: Batch) -> Any:
    """Something that `read` understands again."""
    return dict(batch.kwargs) if batch.kwargs else (batch.args, batch.labels)
