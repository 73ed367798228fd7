"""compensate_: what the units that left told their readers is told by those that stay."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any

from torch import Tensor, nn

from infoprune.compensation.attention import absorb_scales_, put_together, step_by_step, taken_apart
from infoprune.compensation.history import note_compensation
from infoprune.compensation.judging import errors, output_errors
from infoprune.compensation.lockstep import Trial, refit_in_lockstep
from infoprune.compensation.norms import relative_, tracking_norms
from infoprune.compensation.pictures import Pictures
from infoprune.compensation.readers import Reader, held_as, readers_of
from infoprune.compensation.result import Compensation, Row
from infoprune.compensation.scores import keep_scores_
from infoprune.compensation.survivors import Survivors
from infoprune.compensation.watching import called, calls_in, evidence, run
from infoprune.compensation.weights import commit, put, refits, weights_of
from infoprune.errors import StalePlan
from infoprune.graph.slicing import device_of, named_tensors
from infoprune.graph.wrappers import require_whole
from infoprune.observe.undisturbed import undisturbed
from infoprune.require import require_model, require_values
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

    On seven eighths of the samples every layer that lost inputs is refitted in closed form, without a gradient, one
    after the other: each is to answer as in the dense network given what the layers before it, refitted already, feed
    it. Then batch norms move their statistics as far as what they see has moved. On the last eighth a reader whose
    error does not fall keeps its plain slice, and each of the two steps stays only where the network's outputs come
    closer to the dense ones.

    Weights change, shapes don't. `dense`, modes, hooks, gradients and random number generators are afterwards what they
    were, and so is `pruned` if anything fails. Of what both networks hold of the samples in the midst of a forward
    pass, 1 GiB stays in memory and the rest in a temporary file. Under `torchrun` every process reads `samples` of its
    own, sums are taken over all processes, and all end with the same weights: up to rounding those of one process that
    reads all, where each share is a multiple of 16 samples (others are held out elsewhere) and no map is larger than
    16 x 16 (random places of larger ones are read). A recipe knows which samples each process reads and needs neither.

    Args:
        pruned: What `prune_` made of a copy of `dense`; its weights change.
        dense: The network before surgery.
        loader: Gives what both take; labels are not read. It is read several times; one that can be read once, an
            iterator, is held in memory.
        samples: How many samples are read at most.
        progress: Show how far it has come.
        plan: What `pruned` went through, one plan or several in their order, where `prune_` was not called on this very
            object.
    """
    require_model(pruned, "pruned")
    require_model(dense, "dense")
    [done] = compensate_together_([(pruned, plans_for(pruned, plan))], dense, loader, samples, progress=progress)
    return done


def compensate_together_(
    networks: Sequence[tuple[nn.Module, Sequence[Plan]]],
    dense: nn.Module,
    loader: Iterable[Any],
    samples: int = 512,
    *,
    progress: bool = True,
    places: Sequence[int] | None = None,
) -> list[Compensation]:
    """`compensate_` of several networks that these plans made of one `dense`, bit for bit what each alone would get.

    The dense network goes through the pictures once beside all of them. Where attention lost dimensions it is turned
    for each, and so goes through them once more. `places` are the numbers of this process's samples among those of all.
    """
    for network, name in ((dense, "dense"), *((pruned, "pruned") for pruned, _ in networks)):
        require_whole(network)
        require_values(network, "to refit by", name)
    trials = [_Trial.of(pruned, dense, Survivors.of(dense, plans)) for pruned, plans in networks]
    device = device_of(dense)
    pictures = Pictures.of(loader, samples, device, progress=progress, places=places)
    with step_by_step(), ExitStack() as stack:
        for model in (model for t in trials for model in (t.whole, t.network, t.pruned)):
            stack.enter_context(undisturbed(model))
        apart = [trial for trial in trials if trial.keep_scores_(pictures)]
        together = [trial for trial in trials if trial not in apart]
        for group in [*([trial] for trial in apart), *([together] if together else ())]:
            _compensate_group_(group, pictures)
        for trial in trials:
            commit(trial.pruned, put_together(trial.network))
    compensations = [Compensation(t.rows, t.alone, t.outputs, t.moved, *pictures.counts) for t in trials]
    for trial, done in zip(trials, compensations, strict=True):
        note_compensation(trial.pruned, done)
    return compensations


@dataclass(eq=False)
class _Trial:
    """A copy of a pruned network with the dense one beside, both taken apart; then what was done to it."""

    pruned: nn.Module
    network: nn.Module
    whole: nn.Module
    survivors: Survivors
    readers: list[Reader]
    alone: dict[str, str]
    before: dict[str, Tensor]
    rows: tuple[Row, ...] = ()
    outputs: dict[str, float] = field(default_factory=dict)
    moved: int = 0

    @classmethod
    def of(cls, pruned: nn.Module, dense: nn.Module, survivors: Survivors) -> _Trial:
        network, whole = taken_apart(pruned), taken_apart(dense)
        readers, alone = readers_of(network, whole, survivors)
        survivors.require_ancestor(pruned, dense, _settable(pruned, readers))
        before = {**named_tensors(network), **dict(network.named_parameters(remove_duplicate=False))}
        return cls(pruned, network, whole, survivors, readers, alone, before)

    def keep_scores_(self, pictures: Pictures) -> bool:
        """Whether attention lost dimensions, so that both networks were turned."""
        if not keep_scores_(self.network, self.whole, self.survivors, pictures):
            return False
        self.readers, self.alone = readers_of(self.network, self.whole, self.survivors)
        return True


def _compensate_group_(trials: Sequence[_Trial], pictures: Pictures) -> None:
    """Compensate networks whose dense one is the same, that of the first."""
    dense = trials[0].whole
    order = _find_called(dense, trials, pictures)
    for trial, rows in zip(trials, _refitted(dense, trials, order, pictures), strict=True):
        _keep_readers(trial, dense, rows, pictures)
        trial.moved = _norms_that_help(trial.network, dense, trial.survivors, pictures, trial.outputs)


def _find_called(dense: nn.Module, trials: Sequence[_Trial], pictures: Pictures) -> list[str]:
    """Leave the trials the readers that the dense network calls; in which order it does."""
    calls = calls_in(dense, {reader.name for trial in trials for reader in trial.readers}, pictures)
    for trial in trials:
        trial.readers, silent = called(dense, trial.readers, calls)
        trial.alone |= dict.fromkeys(silent, "it is not called as a module")
    return list(calls)


def _keep_readers(trial: _Trial, dense: nn.Module, rows: list[Row], pictures: Pictures) -> None:
    """The refits stand unless the outputs are then further from the dense ones than those of the network as it came."""
    absorb_scales_(trial.network)
    plain, refitted = output_errors(dense, [trial.pruned, trial.network], pictures)
    trial.outputs = {"plain": plain, "readers": refitted} if rows else {"plain": plain}
    if not rows:
        put(trial.network, trial.before)
    elif isfinite(plain) and not refitted <= plain:  # NaN is no better
        put(trial.network, trial.before)
        rows = [replace(row, taken=False) for row in rows]
    trial.rows = tuple(rows)


def _norms_that_help(
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


def _refitted(
    dense: nn.Module, trials: Sequence[_Trial], order: Sequence[str], pictures: Pictures
) -> Iterator[list[Row]]:
    """Refit the readers of each trial, those that are called several times first; its rows."""
    apart = [
        _refitted_apart(t.network, dense, [r for r in t.readers if r.calls > 1 and r.lost], pictures) for t in trials
    ]
    once = [Trial(t.network, [r for r in t.readers if r.calls == 1]) for t in trials]
    rows = refit_in_lockstep(dense, once, order, pictures) if any(t.readers for t in once) else [[] for _ in trials]
    for trial, more, own in zip(trials, apart, rows, strict=True):
        by_name = {row.reader: row for row in [*more, *own]}
        yield [by_name[r.name] for r in trial.readers if r.name in by_name]


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


def plans_for(pruned: nn.Module, plan: Plan | Sequence[Plan] | None) -> tuple[Plan, ...]:
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
