"""compensate_: what the units that left told their readers is told by those that stay."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from infoprune.compensation.accumulated import refit_in_network
from infoprune.compensation.history import note_compensation
from infoprune.compensation.judging import Solution, errors, output_errors, standing
from infoprune.compensation.norms import relative_, tracking_norms
from infoprune.compensation.pictures import Pictures
from infoprune.compensation.readers import Reader, readers_of
from infoprune.compensation.result import Compensation, Row
from infoprune.compensation.survivors import Survivors
from infoprune.compensation.watching import called, evidence, run
from infoprune.compensation.weights import commit, put, refits, weights_of
from infoprune.errors import StalePlan
from infoprune.graph.slicing import named_tensors
from infoprune.graph.verify import structural_copy
from infoprune.observe.surroundings import undisturbed
from infoprune.surgery.history import plans_of
from infoprune.surgery.plan import Plan


def compensate_(
    pruned: nn.Module,
    dense: nn.Module,
    loader: Iterable[Any],
    *,
    samples: int = 512,
    progress: bool = True,
    plan: Plan | Sequence[Plan] | None = None,
) -> Compensation:
    """Let what stayed in `pruned` say what left told its readers in `dense`; in place, all of it or nothing.

    `pruned` is `dense` after `prune_`, `loader` gives what both take (labels are not read); `plan` is what it went
    through, one plan or several in their order, where `prune_` was not called on this very object. On three quarters
    of the samples every layer that lost inputs is refitted in closed form, without a gradient, given what the dense
    network feeds it, and then once more, given what the pruned network does; batch norms move their statistics as far
    as what they see has moved. On the last quarter a reader whose error does not fall keeps its plain slice, and each
    of the other two steps stays only where the network's outputs come closer to the dense ones.

    Weights change, shapes don't. `dense`, modes, hooks, gradients and random number generators are afterwards what they
    were, and so is `pruned` if anything fails. Activations are held for one batch only; beside them memory holds
    16 bytes for every pair of an input and a kept input of each reader, however many samples there are. The loader is
    read several times; one that can be read once, an iterator, is held in memory. Under `torchrun` every worker reads
    `samples` of its own, sums are taken over all workers, and all end with the same weights.
    """
    survivors = Survivors.of(dense, _plans(pruned, plan))
    trial = structural_copy(pruned)
    readers, alone = readers_of(trial, dense, survivors)
    survivors.require_ancestor(pruned, dense, _settable(pruned, readers))
    device = next((t.device for t in named_tensors(dense).values()), torch.device("cpu"))
    pictures = Pictures.of(loader, samples, device, progress=progress)
    with undisturbed(dense), undisturbed(pruned):
        readers, silent = called(dense, readers, pictures)
        alone |= dict.fromkeys(silent, "it is not called as a module")
        standing, rows = _refitted(trial, dense, readers, pictures)
        plain, refitted = output_errors(dense, [pruned, trial], pictures)
        outputs = {"plain": plain, "readers": refitted}
        network = _Steps(trial, dense, pictures, outputs)
        again = network.take("network", lambda: refit_in_network(trial, dense, standing, pictures)) or {}
        moved = network.take("norms", lambda: _move_norms(trial, dense, survivors, pictures)) or 0
        commit(pruned, trial)
    rows = tuple(row.again(again.get(row.reader)) for row in rows)
    done = Compensation(rows, alone, outputs, moved, *pictures.counts)
    note_compensation(pruned, done)
    return done


def _refitted(
    trial: nn.Module, dense: nn.Module, readers: Sequence[Reader], pictures: Pictures
) -> tuple[dict[str, Solution], list[Row]]:
    """Refit the trial's readers that lost inputs, each given what the dense network feeds it; how all stand then."""
    lost = [reader for reader in readers if reader.lost]
    seen = evidence(dense, lost, pictures)
    ways = {reader.name: refits(reader, dense, seen.pop(reader.name)) for reader in lost}
    judged = errors(dense, ways, pictures)
    now, rows = {}, []
    for reader in readers:
        if not reader.lost:
            now[reader.name] = standing(reader)
            continue
        plain, *refitted = judged[reader.name]
        best = min(range(len(refitted)), key=refitted.__getitem__)
        rows.append(Row.of(ways[reader.name][best], plain, refitted[best]))
        now[reader.name] = ways[reader.name][best] if rows[-1].taken else standing(reader, ways[reader.name][best].mean)
    put(trial, weights_of(trial, dense, [now[row.reader] for row in rows if row.taken]))
    return now, rows


class _Steps:
    """Changes of the trial, each of which stays only where the network's outputs come closer to the dense ones."""

    def __init__(self, trial: nn.Module, dense: nn.Module, pictures: Pictures, outputs: dict[str, float]):
        self.trial, self.dense, self.pictures, self.outputs = trial, dense, pictures, outputs
        self.best = outputs["readers"]

    def take(self, name: str, change: Callable[[], Any]) -> Any:
        """What the change returned, None if it did nothing or was undone."""
        before = named_tensors(self.trial)
        done = change()
        if not done:
            return None
        [self.outputs[name]] = output_errors(self.dense, [self.trial], self.pictures)
        if self.outputs[name] < self.best:
            self.best = self.outputs[name]
            return done
        put(self.trial, before)
        return None


def _move_norms(trial: nn.Module, dense: nn.Module, survivors: Survivors, pictures: Pictures) -> int:
    """Set the trial's norms in tensors of its own; how many there are."""
    norms, tensors, whole = tracking_norms(trial), named_tensors(trial), named_tensors(dense)
    names = [f"{name}.{of}" for name in norms for of in ("running_mean", "running_var")]
    put(trial, {name: tensors[name].clone() for name in names})
    kept = {n: survivors.along(f"{n}.running_mean", 0, len(whole[f"{n}.running_mean"])) for n in norms}
    batches = (batch for _, batch in pictures.parts(("held out",), "norms")) if norms else ()
    relative_(trial, dense, batches, kept=kept, forward=run)
    return len(norms)


def _plans(pruned: nn.Module, plan: Plan | Sequence[Plan] | None) -> tuple[Plan, ...]:
    if isinstance(plan, Plan):
        return (plan,)
    plans = plans_of(pruned) if plan is None else tuple(plan)
    for each in plans:
        if not isinstance(each, Plan):
            raise TypeError(f"plan holds a {type(each).__name__}; pass the plan, or the plans in their order")
    if not plans:
        raise StalePlan(
            "which units left this model is not known: prune_() did not prune this very object, or it is a copy; pass "
            "plan="
        )
    return plans


def _settable(pruned: nn.Module, readers: Sequence[Reader]) -> Iterator[str]:
    """Names of the tensors that compensation may have changed before."""
    for reader in readers:
        yield from (f"{reader.name}.weight", f"{reader.name}.bias")
    for name in tracking_norms(pruned):
        yield from (f"{name}.{of}" for of in ("running_mean", "running_var", "num_batches_tracked"))
