"""Readers refitted one after the other, each given what the network before it, refitted already, makes of the pictures.

What the pruned network feeds a reader, z, is not what the dense one does, x: channels left, readers before it were
refitted, blocks left. Each is asked for the dense outputs given z. Both networks run side by side and halt at every
reader with all pictures, so that one pass is enough; several pruned networks run beside one pass of the dense one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from infoprune.compensation.halting import Pass, halting
from infoprune.compensation.holding import Held
from infoprune.compensation.judging import Solution, ratio, squares, standing
from infoprune.compensation.pictures import Fold, Pictures
from infoprune.compensation.readers import Reader, channel_axis
from infoprune.compensation.result import Row
from infoprune.compensation.solving import refit_in_place
from infoprune.compensation.watching import MeanInput, not_finite, require_finite
from infoprune.compensation.weights import put, shifted, weights_of
from infoprune.errors import UnusableData
from infoprune.estimators.covariance import Comoments
from infoprune.observe.batches import Batch
from infoprune.observe.reader_layers import samples_of
from infoprune.processes import over_processes
from infoprune.progress import counting

AT_ONCE = 16  # samples of a forward pass, at least: each is a thread


class Trial(NamedTuple):
    """A pruned network that is refitted in place, and its readers."""

    network: nn.Module
    readers: Sequence[Reader]


class Walk(NamedTuple):
    """The two passes of one batch, side by side; `place` is the number of its first sample."""

    place: int
    part: Fold
    whole: Pass
    own: Pass


class Reading(NamedTuple):
    """Of one batch: what a reader read in the dense network, what it reads in the pruned one, and what it gave out.

    The last only of samples that are held out.
    """

    walk: Walk
    x: Tensor
    z: Tensor
    y: Tensor | None


@dataclass
class Fed:
    """What a reader is fed: moments of (x, z) and of (z, z) for both halves of the samples, and the mean inputs."""

    halves: dict[Fold, tuple[Comoments, Comoments]]
    dense: MeanInput = field(default_factory=MeanInput)
    own: MeanInput = field(default_factory=MeanInput)
    same: bool = True  # as the dense network, all the time

    def __add__(self, other: Fed) -> Fed:
        halves: dict[Fold, tuple[Comoments, Comoments]] = {
            p: (a + c, b + d) for p, (a, b) in self.halves.items() for c, d in [other.halves[p]]
        }
        return Fed(halves, self.dense + other.dense, self.own + other.own, self.same and other.same)


def refit_in_lockstep(
    dense: nn.Module, trials: Sequence[Trial], order: Sequence[str], pictures: Pictures
) -> list[list[Row]]:
    """Refit each trial's readers in place, where that lowers their held-out error; their rows, trial by trial.

    `order` is that in which the dense network calls them. Readers whose input is the dense one's have nothing to make
    up for. Each must be called once in a forward pass.
    """
    names = {reader.name for trial in trials for reader in trial.readers}
    rows: list[list[Row]] = [[] for _ in trials]
    with ExitStack() as stack:
        memory = stack.enter_context(Held())
        stack.enter_context(halting(dense, names))
        for trial in trials:
            stack.enter_context(halting(trial.network, {reader.name for reader in trial.readers}))
        walks: list[list[Walk]] = [[] for _ in trials]
        for part, batch in _gathered(pictures.parts(("first", "second", "held out"), "read pictures")):
            whole = Pass(dense, batch, memory, after=part == "held out")
            stack.callback(whole.cancel)
            for trial, own in zip(trials, walks, strict=True):
                own.append(Walk(batch.place, part, whole, Pass(trial.network, batch, memory)))
                stack.callback(own[-1].own.cancel)
            whole.rest()
        count = sum(len(trial.readers) for trial in trials)
        done = stack.enter_context(counting(count, "refit", "reader", shown=pictures.progress))
        for which, name in _halts(walks, order):
            trial = trials[which]
            reader = next(reader for reader in trial.readers if reader.name == name)
            rows[which] += _refitted(trial.network, dense, reader, walks[which], pictures.device)
            done(1)
    return rows


def _halts(walks: Sequence[Sequence[Walk]], order: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Which trial is to be refitted at which reader next, as the dense network comes along."""
    place = {name: i for i, name in enumerate(order)}
    waiting = {which: name for which, own in enumerate(walks) if (name := _next(own)) is not None}
    while waiting:
        which = min(waiting, key=lambda trial: place[waiting[trial]])
        yield which, waiting.pop(which)
        if (name := _next(walks[which])) is not None:
            waiting[which] = name


def _gathered(parts: Iterator[tuple[Fold, Batch]]) -> Iterator[tuple[Fold, Batch]]:
    """The same samples in fewer batches: small ones of a part and of the same shapes are joined."""
    small: dict[Fold, Batch] = {}
    for part, batch in parts:
        held = small.pop(part, None)
        if held is not None and [t.shape[1:] for t in held.tensors] != [t.shape[1:] for t in batch.tensors]:
            yield part, held
            held = None
        batch = batch if held is None else held.joined(batch)
        if len(batch) < AT_ONCE:
            small[part] = batch
        else:
            yield part, batch
    yield from small.items()


def _next(walks: Sequence[Walk]) -> str | None:
    """The reader at which the first pass that has not ended halts next."""
    for walk in walks:
        walk.own.go_on()
        if walk.own.at is not None:
            return walk.own.at
    return None


def _readings(reader: Reader, walks: Iterable[Walk]) -> Iterator[Reading]:
    """What the batches tell of the reader, one after the other."""
    for walk in walks:
        seen, seen_dense = walk.own.until(reader.name), walk.whole.until(reader.name)
        if seen is not None and seen_dense is not None:
            _require_columns(reader, seen_dense[0])
            yield _of_the_same_places(reader, walk, *seen, *seen_dense)
        walk.own.rest()
        walk.whole.rest()


def _require_columns(reader: Reader, x: Tensor) -> None:
    groups, _, _, columns = reader.target.shape
    wanted, inputs = groups * columns * reader.pixels, x.shape[channel_axis(reader.layer, x)]
    if inputs != wanted:
        raise UnusableData(f"{reader.name} read {inputs} numbers instead of {wanted}; give pictures of one size")


def _of_the_same_places(reader: Reader, walk: Walk, z: Tensor, x: Tensor, y: Tensor | None = None) -> Reading:
    """Behind tokens that left, where x and z are not of the same places, what stayed of x stands in for z."""
    places = [t.numel() // t.shape[channel_axis(reader.layer, t)] for t in (x, z)]
    return Reading(walk, x, z if places[0] == places[1] else reader.selected(x), y)


def _refitted(
    trial: nn.Module, dense: nn.Module, reader: Reader, walks: Sequence[Walk], device: torch.device
) -> Iterator[Row]:
    """The reader's row once the trial holds the better of both weights; none for one that reads what it read before."""
    fed = over_processes(_fed(reader, walks, device))
    require_finite(reader.name, *(seen for half in fed.halves.values() for seen in half))
    if fed.same:
        return
    ways = _ways(reader, dense, fed)
    sums = torch.zeros(len(ways) + 2, dtype=torch.float64)
    for reading in _readings(reader, [walk for walk in walks if walk.part == "held out"]):
        assert reading.y is not None
        sums += squares([standing(reader), *ways], reading.y, reading.z)
    total, *gaps = over_processes(sums)
    if not total.isfinite():
        raise not_finite(reader.name)
    plain, *refitted = (ratio(gap, total) for gap in gaps)
    best = min(range(len(ways)), key=refitted.__getitem__)
    row = Row.of(ways[best], plain, refitted[best])
    if row.taken:
        put(trial, weights_of(trial, dense, [ways[best]]))
    yield row


def _fed(reader: Reader, walks: Sequence[Walk], device: torch.device) -> Fed:
    fed = _nothing(reader, device)
    for walk, x, z, _ in _readings(reader, [walk for walk in walks if walk.part != "held out"]):
        fed.same &= bool(torch.equal(reader.selected(x), z)) and not reader.lost
        a, b = (samples_of(reader.layer, t, reader.pixels, walk.place) for t in (x, z))
        fed.halves[walk.part][0].add_(a, b)
        fed.halves[walk.part][1].add_(b, b)
        fed.dense.note(reader.layer, x)
        fed.own.note(reader.layer, z)
    return fed


def _nothing(reader: Reader, device: torch.device) -> Fed:
    groups, _, _, columns = reader.target.shape
    k = reader.kept.shape[1]

    def both() -> tuple[Comoments, Comoments]:
        return Comoments.empty(groups, columns, k, device=device), Comoments.empty(groups, k, k, device=device)

    return Fed({"first": both(), "second": both()})


def _ways(reader: Reader, dense: nn.Module, fed: Fed) -> list[Solution]:
    """The reader's refits, of which held-out samples choose one."""
    halves, exact = (fed.halves["first"], fed.halves["second"]), reader.layer.weight.dtype == torch.float64
    weights = [
        refit_in_place(reader.target, reader.weight, halves, centred=centred, exact=exact)
        for centred in reader.centrings
    ]
    return [shifted(reader, dense, weight, ridge, fed.dense, fed.own) for weight, ridge in weights]
