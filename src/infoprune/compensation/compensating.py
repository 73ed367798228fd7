"""compensate_: what the units that left told their readers is told by those that stay."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from math import isfinite
from typing import Any

import torch
from torch import Tensor, nn

from infoprune.compensation.attention import absorb_scales_, put_together, step_by_step, taken_apart
from infoprune.compensation.history import note_compensation
from infoprune.compensation.judging import errors, output_errors
from infoprune.compensation.lockstep import refit_in_lockstep
from infoprune.compensation.norms import relative_, tracking_norms
from infoprune.compensation.pictures import Pictures
from infoprune.compensation.readers import Reader, held_as, readers_of
from infoprune.compensation.result import Compensation, Row
from infoprune.compensation.scores import keep_scores_
from infoprune.compensation.survivors import Survivors
from infoprune.compensation.watching import called, evidence, run
from infoprune.compensation.weights import commit, put, refits, weights_of
from infoprune.errors import StalePlan
from infoprune.graph.slicing import named_tensors
from infoprune.graph.wrappers import require_whole
from infoprune.observe.undisturbed import undisturbed
from infoprune.require import require_model
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
    through, one plan or several in their order, where `prune_` was not called on this very object. On seven eighths of
    the samples every layer that lost inputs is refitted in closed form, without a gradient, one after the other: each
    is to answer as in the dense network given what the layers before it, refitted already, feed it. Then batch norms
    move their statistics as far as what they see has moved. On the last eighth a reader whose error does not fall
    keeps its plain slice, and each of the two steps stays only where the network's outputs come closer to the dense
    ones.

    Weights change, shapes don't. `dense`, modes, hooks, gradients and random number generators are afterwards what they
    were, and so is `pruned` if anything fails. Of what both networks hold of `samples` samples in the midst of a
    forward pass, 1 GiB stays in memory and the rest in a temporary file. The loader is read several times; one that can
    be read once, an iterator, is held in memory. Under `torchrun` every process reads `samples` of its own, sums are
    taken over all processes, and all end with the same weights: up to rounding those of one process that reads all,
    where each share is a multiple of 16 samples (others are held out elsewhere).
    """
    require_model(pruned, "pruned")
    require_model(dense, "dense")
    for network in (pruned, dense):
        require_whole(network)
    survivors = Survivors.of(dense, plans_given(pruned, plan))
    trial, whole = taken_apart(pruned), taken_apart(dense)
    readers, alone = readers_of(trial, whole, survivors)
    survivors.require_ancestor(pruned, dense, _settable(pruned, readers))
    device = next((t.device for t in named_tensors(dense).values()), torch.device("cpu"))
    pictures = Pictures.of(loader, samples, device, progress=progress)
    with step_by_step(), undisturbed(whole), undisturbed(trial), undisturbed(pruned):
        before = {**named_tensors(trial), **dict(trial.named_parameters(remove_duplicate=False))}
        if keep_scores_(trial, whole, survivors, pictures):
            readers, alone = readers_of(trial, whole, survivors)
        readers, silent = called(whole, readers, pictures)
        alone |= dict.fromkeys(silent, "it is not called as a module")
        rows, outputs = _told_by_readers(trial, pruned, whole, readers, pictures, before)
        moved = _told_by_norms(trial, whole, survivors, pictures, outputs)
        commit(pruned, put_together(trial))
    done = Compensation(rows, alone, outputs, moved, *pictures.counts)
    note_compensation(pruned, done)
    return done


def _told_by_readers(
    trial: nn.Module,
    pruned: nn.Module,
    dense: nn.Module,
    readers: Sequence[Reader],
    pictures: Pictures,
    before: dict[str, Tensor],
) -> tuple[tuple[Row, ...], dict[str, float]]:
    """Refit the trial's readers, unless its outputs are then further from the dense ones than those of `pruned`.

    `before` is what it held then.
    """
    rows = _refitted(trial, dense, readers, pictures)
    absorb_scales_(trial)
    plain, refitted = output_errors(dense, [pruned, trial], pictures)
    if not rows:
        put(trial, before)
        return (), {"plain": plain}
    if isfinite(plain) and not refitted <= plain:  # NaN is no better
        put(trial, before)
        rows = [replace(row, taken=False) for row in rows]
    return tuple(rows), {"plain": plain, "readers": refitted}


def _told_by_norms(
    trial: nn.Module, dense: nn.Module, survivors: Survivors, pictures: Pictures, outputs: dict[str, float]
) -> int:
    """Move the trial's norms if its outputs come closer to the dense ones then; how many moved."""
    before, best = named_tensors(trial), min(outputs.values())
    moved = _move_norms(trial, dense, survivors, pictures)
    if not moved:
        return 0
    [outputs["norms"]] = output_errors(dense, [trial], pictures)
    if outputs["norms"] < best:
        return moved
    put(trial, before)
    return 0


def _refitted(trial: nn.Module, dense: nn.Module, readers: Sequence[Reader], pictures: Pictures) -> list[Row]:
    """Refit the trial's readers, those that are called several times first."""
    rows = _refitted_apart(trial, dense, [r for r in readers if r.calls > 1 and r.lost], pictures)
    once = [r for r in readers if r.calls == 1]
    found = {row.reader: row for row in [*rows, *(refit_in_lockstep(trial, dense, once, pictures) if once else ())]}
    return [found[r.name] for r in readers if r.name in found]


def _refitted_apart(trial: nn.Module, dense: nn.Module, readers: Sequence[Reader], pictures: Pictures) -> list[Row]:
    """Refit the trial's readers, each given what the dense network feeds it."""
    if not readers:
        return []
    seen = evidence(dense, readers, pictures)
    ways = {reader.name: refits(reader, dense, seen.pop(reader.name)) for reader in readers}
    rows, better = [], []
    for name, (plain, *refitted) in errors(dense, ways, pictures).items():
        best = min(range(len(refitted)), key=refitted.__getitem__)
        rows.append(Row.of(ways[name][best], plain, refitted[best]))
        better += [ways[name][best]] if rows[-1].taken else []
    put(trial, weights_of(trial, dense, better))
    return rows


def _move_norms(trial: nn.Module, dense: nn.Module, survivors: Survivors, pictures: Pictures) -> int:
    """Set the trial's norms in tensors of its own; how many there are."""
    norms, tensors, whole = tracking_norms(trial), named_tensors(trial), named_tensors(dense)
    names = [f"{name}.{of}" for name in norms for of in ("running_mean", "running_var")]
    put(trial, {name: tensors[name].clone() for name in names})
    kept = {n: survivors.along(f"{n}.running_mean", 0, len(whole[f"{n}.running_mean"])) for n in norms}
    batches = (batch for _, batch in pictures.parts(("held out",), "move norms")) if norms else ()
    relative_(trial, dense, batches, kept=kept, forward=run)
    return len(norms)


def plans_given(pruned: nn.Module, plan: Plan | Sequence[Plan] | None) -> tuple[Plan, ...]:
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
        yield from (held_as(reader.name, reader.layer, leaf) for leaf in ("weight", "bias"))
    for name in tracking_norms(pruned):
        yield from (f"{name}.{of}" for of in ("running_mean", "running_var", "num_batches_tracked"))
