"""Readers refitted once more, against the error that has accumulated before them in the pruned network.

What the pruned network feeds a reader, z, is not what the dense one does, x: readers before it were refitted too, norms
take other statistics, blocks left. Here each is asked for the dense outputs given z, starting from the refit it has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor, nn

from infoprune.compensation.judging import Solution, ratio, squares
from infoprune.compensation.pictures import Part, Pictures
from infoprune.compensation.readers import Reader
from infoprune.compensation.solving import refit_in_place
from infoprune.compensation.watching import MeanInput, require_finite, side_by_side
from infoprune.compensation.weights import put, shifted, weights_of
from infoprune.compensation.workers import over_workers
from infoprune.estimators.covariance import Comoments
from infoprune.observe.reading import columns_of, samples_of

STAGES = 4  # passes: readers behind others are measured once those were refitted


@dataclass
class Fed:
    """What a reader is fed: moments of (x, z) and of (z, z) for both halves of the samples, and the mean inputs."""

    halves: Mapping[Part, tuple[Comoments, Comoments]]
    dense: MeanInput = field(default_factory=MeanInput)
    own: MeanInput = field(default_factory=MeanInput)
    same: bool = True  # as the dense network, all the time

    def __add__(self, other: Fed) -> Fed:
        halves: dict[Part, tuple[Comoments, Comoments]] = {
            p: (a + c, b + d) for p, (a, b) in self.halves.items() for c, d in [other.halves[p]]
        }
        return Fed(halves, self.dense + other.dense, self.own + other.own, self.same and other.same)


def refit_in_network(
    trial: nn.Module, dense: nn.Module, now: Mapping[str, Solution], pictures: Pictures
) -> dict[str, tuple[float, float]]:
    """Refit the trial's readers in place, stage after stage, and keep what lowers the error on held-out samples.

    `now` is how the readers stand, in the order in which they run. Returned are the errors over variance of those that
    were refitted, given what the network feeds them, before and after.
    """
    found = {}
    for stage in _stages(list(now.values())):
        readers = [solution.reader for solution in stage]
        fed = _fed(trial, dense, readers, pictures)
        ways = {s.reader.name: (s, _refitted(s, dense, told)) for s in stage if (told := fed[s.reader.name])}
        if not ways:
            continue
        put(trial, weights_of(trial, dense, [new for _, new in ways.values()]))
        judged = _judged(trial, dense, ways, pictures)
        worse = [old for name, (old, _) in ways.items() if not judged[name][1] < judged[name][0]]
        put(trial, weights_of(trial, dense, worse))
        found |= {name: errors for name, errors in judged.items() if errors[1] < errors[0]}
    return found


def _stages(solutions: Sequence[Solution]) -> Iterator[Sequence[Solution]]:
    count = min(STAGES, len(solutions))
    edges = [round(i * len(solutions) / count) for i in range(count + 1)] if count else [0]
    for low, high in pairwise(edges):
        yield solutions[low:high]


def _fed(trial: nn.Module, dense: nn.Module, readers: Sequence[Reader], pictures: Pictures) -> dict[str, Fed | None]:
    """None for readers whose input is the dense one's, or has no counterpart in it."""
    found = {reader.name: _nothing(reader, pictures.device) for reader in readers}
    for seed, (part, batch) in enumerate(pictures.parts(("first", "second"), "accumulated error")):

        def note(reader: Reader, x: Tensor, _: Tensor, z: Tensor, part: Part = part, seed: int = seed) -> None:
            fed = found[reader.name]
            fed.same &= bool(torch.equal(reader.selected(x), z)) and not reader.lost
            a, b = (samples_of(reader.layer, t, reader.pixels, seed) for t in (x, z))
            fed.halves[part][0].add_(a, b)
            fed.halves[part][1].add_(b, b)
            fed.dense.note(reader.layer, x)
            fed.own.note(reader.layer, z)

        side_by_side(dense, trial, readers, batch, note)
    found = {name: over_workers(fed) for name, fed in found.items()}
    for name, fed in found.items():
        require_finite(name, *(seen for half in fed.halves.values() for seen in half))
    return {name: None if fed.same else fed for name, fed in found.items()}


def _nothing(reader: Reader, device: torch.device) -> Fed:
    groups, _, _, columns = reader.target.shape
    k = reader.kept.shape[1]

    def both() -> tuple[Comoments, Comoments]:
        return Comoments.empty(groups, columns, k, device=device), Comoments.empty(groups, k, k, device=device)

    return Fed({"first": both(), "second": both()})


def _refitted(now: Solution, dense: nn.Module, fed: Fed) -> Solution:
    reader = now.reader
    halves = (fed.halves["first"], fed.halves["second"])
    columns = columns_of(reader.layer, now.weight, reader.pixels)
    exact = now.weight.dtype == torch.float64
    new, ridge = refit_in_place(reader.target, columns, halves, centred=reader.shiftable, exact=exact)
    return shifted(reader, dense, new, ridge, fed.dense, fed.own)


def _judged(
    trial: nn.Module, dense: nn.Module, ways: Mapping[str, Sequence[Solution]], pictures: Pictures
) -> dict[str, tuple[float, float]]:
    sums = {name: torch.zeros(3, dtype=torch.float64) for name in ways}

    def note(reader: Reader, _: Tensor, y: Tensor, z: Tensor) -> None:
        sums[reader.name] += squares(ways[reader.name], y, z)

    for _, batch in pictures.parts(("held out",), "held out"):
        side_by_side(dense, trial, [old.reader for old, _ in ways.values()], batch, note)
    totals = {name: over_workers(total) for name, total in sums.items()}
    return {name: (ratio(old, spread), ratio(new, spread)) for name, (spread, old, new) in totals.items()}
