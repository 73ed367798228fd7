"""compensate_: what the units that left told their readers is told by those that stay."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from infoprune.compensation.judging import Solution, errors, output_errors
from infoprune.compensation.norms import relative_, tracking_norms
from infoprune.compensation.pictures import Pictures
from infoprune.compensation.readers import Reader, answer, readers_of
from infoprune.compensation.result import Compensation, Row
from infoprune.compensation.solving import refit
from infoprune.compensation.survivors import Survivors
from infoprune.compensation.watching import Evidence, called, evidence, run
from infoprune.errors import StalePlan
from infoprune.graph.slicing import named_tensors
from infoprune.graph.verify import structural_copy
from infoprune.observe.reading import weight_of
from infoprune.observe.surroundings import undisturbed
from infoprune.surgery.history import plans_of
from infoprune.surgery.plan import Plan

Change = Mapping[str, Tensor]  # what named tensors are to hold


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

    `pruned` is `dense` after `prune_`, of whatever inputs `loader` gives (labels are not read); `plan` is what it went
    through, one plan or several in their order, where `prune_` was not called on this very object. Every layer that
    lost inputs is refitted in closed form on three quarters of the samples, without a gradient, and batch norms move
    their statistics as far as what they see has moved. On the last quarter a reader whose error does not fall keeps its
    plain slice, and so do norms where the network's own outputs come no closer to the dense ones.

    Weights change, shapes don't. `dense`, modes, hooks, gradients and random number generators are afterwards what they
    were, and so is `pruned` if anything fails. Activations are held for one batch only; beside that memory holds
    16 bytes for every pair of an input and a kept input of each reader, however many samples there are. The loader is
    read several times; one that can be read once, an iterator, is held in memory.
    """
    plans = _plans(pruned, plan)
    survivors = Survivors.of(dense, plans)
    trial = structural_copy(pruned)
    readers, alone = readers_of(trial, dense, survivors)
    survivors.require_ancestor(pruned, dense, _settable(pruned, readers))
    device = next((t.device for t in named_tensors(dense).values()), torch.device("cpu"))
    pictures = Pictures.of(loader, samples, device, progress=progress)
    with undisturbed(dense), undisturbed(pruned):
        found, silent = called(dense, readers, pictures)
        alone |= {name: "it is not called as a module" for name in silent}
        seen = evidence(dense, found, pictures)
        ways = {reader.name: solved(reader, dense, seen.pop(reader.name)) for reader in found}
        judged = errors(dense, ways, pictures)
        rows = {name: _row(ways[name], judged[name]) for name in ways}
        _put(trial, _weights(trial, [ways[name][row.way] for name, row in rows.items() if row.taken]))
        outputs, norms = _with_norms(trial, dense, pruned, survivors, pictures)
        _commit(pruned, trial)
    return Compensation(tuple(rows.values()), alone, outputs, norms, *pictures.counts)


# ----------------------------------------------------------------------------------------------------- the refit


def solved(reader: Reader, dense: nn.Module, seen: Evidence) -> list[Solution]:
    """The reader's refits from what it read in the dense network, of which held-out samples choose one.

    A constant is the same at every place of an output, but at borders, and between the strides of a transposed
    convolution, only some taps read. There a refit through the origin may be the better one.
    """
    means = [False] if not reader.shiftable else [True, False] if reader.target.shape[2] > 1 else [True]
    return [_solution(reader, dense, seen, centred=centred) for centred in means]


def _solution(reader: Reader, dense: nn.Module, seen: Evidence, *, centred: bool) -> Solution:
    weight, whole = reader.layer.weight.detach(), dense.get_submodule(reader.name)
    exact = weight.dtype == torch.float64
    new, ridge = refit(reader.target, reader.kept, (seen.first, seen.second), centred=centred, exact=exact)

    def dense_outputs(x: Tensor) -> Tensor:
        bias = None if getattr(whole, "bias", None) is None else whole.bias.detach().double()
        return reader.outputs(answer(whole, x, whole.weight.detach().double(), bias))

    def new_outputs(x: Tensor) -> Tensor:
        bias = None if reader.bias is None else reader.bias.double()
        return answer(reader.layer, reader.selected(x), weight_of(reader.layer, new, weight.double()), bias)

    mean = seen.mean(dense_outputs)
    shift = mean - seen.mean(new_outputs) if reader.shiftable else None
    bias = None if reader.bias is None else (reader.bias + shift).to(reader.bias.dtype)
    return Solution(reader, reader.stored(new), bias, shift if reader.norm else None, ridge, mean)


def _weights(model: nn.Module, solutions: Sequence[Solution]) -> dict[str, Tensor]:
    """What the model's tensors are to hold: a constant without a bias comes out of the norm's mean."""
    tensors = named_tensors(model)
    found = {}
    for s in solutions:
        found[f"{s.reader.name}.weight"] = s.weight
        if s.bias is not None:
            found[f"{s.reader.name}.bias"] = s.bias
        if s.shift is not None:
            mean = f"{s.reader.norm}.running_mean"
            found[mean] = tensors[mean] - s.shift.to(tensors[mean])
    return found


# ------------------------------------------------------------------------------------------------ norms, outputs


def _with_norms(
    trial: nn.Module, dense: nn.Module, pruned: nn.Module, survivors: Survivors, pictures: Pictures
) -> tuple[dict[str, float], int]:
    """Move the trial's norms if that brings its outputs closer; the errors of outputs at every step."""
    plain, refitted = output_errors(dense, [pruned, trial], pictures)
    outputs = {"plain": plain, "readers": refitted}
    norms = tracking_norms(trial)
    if not norms:
        return outputs, 0
    before = _statistics(trial)
    _put(trial, {name: t.clone() for name, t in before.items()})
    kept = {name: survivors.along(f"{name}.running_mean", 0, _size(dense, name)) for name in norms}
    batches = (batch for _, batch in pictures.parts(("held out",), "norms"))
    relative_(trial, dense, batches, kept=kept, forward=run)
    [outputs["norms"]] = output_errors(dense, [trial], pictures)
    if outputs["norms"] < refitted:
        return outputs, len(norms)
    _put(trial, before)
    return outputs, 0


def _statistics(model: nn.Module) -> dict[str, Tensor]:
    names = [f"{name}.{of}" for name in tracking_norms(model) for of in ("running_mean", "running_var")]
    tensors = named_tensors(model)
    return {name: tensors[name] for name in names}


def _size(dense: nn.Module, norm: str) -> int:
    return len(named_tensors(dense)[f"{norm}.running_mean"])


# ----------------------------------------------------------------------------------------------------- in place


def _plans(pruned: nn.Module, plan: Plan | Sequence[Plan] | None) -> tuple[Plan, ...]:
    if isinstance(plan, Plan):
        return (plan,)
    plans = plans_of(pruned) if plan is None else tuple(plan)
    for each in plans:
        if not isinstance(each, Plan):
            raise TypeError(f"plan holds a {type(each).__name__}; pass the plan, or the plans in their order")
    if not plans:
        raise StalePlan(
            "which units left this model is not known: it was not pruned by prune_(), or is a copy; pass plan="
        )
    return plans


def _settable(pruned: nn.Module, readers: Sequence[Reader]) -> Iterator[str]:
    """Names of the tensors that compensation may have changed before."""
    for reader in readers:
        yield from (f"{reader.name}.weight", f"{reader.name}.bias")
    for name in tracking_norms(pruned):
        yield from (f"{name}.{of}" for of in ("running_mean", "running_var", "num_batches_tracked"))


def _put(model: nn.Module, change: Change) -> None:
    """Give named places tensors of their own; nobody else who holds the old ones is touched."""
    for name, tensor in change.items():
        owner, _, leaf = name.rpartition(".")
        module = model.get_submodule(owner)
        held = module._parameters if leaf in module._parameters else module._buffers
        old = held[leaf]
        held[leaf] = nn.Parameter(tensor, old.requires_grad) if isinstance(old, nn.Parameter) else tensor


def _commit(pruned: nn.Module, trial: nn.Module) -> None:
    """Copy into the model's own tensors what the trial holds; an interrupt undoes it."""
    new = named_tensors(trial)
    changed = {name: (t, new[name]) for name, t in named_tensors(pruned).items() if t is not new[name]}
    with _undone(t for t, _ in changed.values()):
        for tensor, value in changed.values():
            tensor.copy_(value)


@contextmanager
def _undone(tensors: Iterable[Tensor]) -> Iterator[None]:
    """Whatever happens inside, an exception leaves these tensors with the values they had."""
    before = [(t, t.detach().clone()) for t in tensors]
    try:
        yield
    except BaseException:
        for tensor, value in before:
            tensor.copy_(value)
        raise


def _row(ways: Sequence[Solution], found: Sequence[float]) -> Row:
    """The best of the refits beside the plain slice."""
    plain, *refitted = found
    way = min(range(len(ways)), key=lambda i: refitted[i])
    reader = ways[way].reader
    return Row(
        reader.name, reader.kept.shape[1], reader.target.shape[-1], plain, refitted[way], ways[way].ridge,
        refitted[way] < plain, way,
    )  # fmt: skip
