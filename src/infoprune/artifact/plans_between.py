"""plan_between(): which units another tool kept, found by the numbers that are in both networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from infoprune.artifact.architecture import same_modules
from infoprune.artifact.from_host import axes_between, by_layer, numbers_between
from infoprune.compensation.norms import tracking_norms
from infoprune.errors import StalePlan
from infoprune.graph.arguments import Arguments
from infoprune.graph.slicing import named_tensors
from infoprune.graph.wrappers import bare
from infoprune.require import require_model
from infoprune.surgery.inputs import described
from infoprune.surgery.plan import Plan
from infoprune.surgery.widths import Axis, KeepWidths

Kept = dict[tuple[str, int], list[int]]  # (tensor, axis) -> the dense indices that stayed


def plan_between(dense: nn.Module, pruned: nn.Module, example_inputs: Any = None) -> Plan:
    """The plan that leads from `dense` to `pruned`, whoever cut it, found before anything is trained.

    Every tensor of `pruned` must be a slice of the dense one of its name. Which indices stayed shows in the numbers
    themselves; where they tell nothing, as in biases that are all zero, the layer's other tensors do. Pass it to
    `compensate_` or `save`; `example_inputs` are what an artefact is asked when it is loaded again.
    """
    require_model(dense, "dense")
    require_model(pruned, "pruned")
    dense, pruned = bare(dense), bare(pruned)
    _check_structure(dense, pruned)
    cuts = by_layer(axes_between(dense, pruned))
    numbers = by_layer(numbers_between(dense, pruned))
    kept = _kept(dense, pruned, cuts)
    edits = [
        KeepWidths(
            layer,
            tuple(cuts.get(layer, ())),
            tuple(numbers.get(layer, ())),
            tuple(tuple(kept[cut.tensor, cut.axis]) for cut in cuts.get(layer, ())),
        )
        for layer in [*cuts, *(name for name in numbers if name not in cuts)]
    ]
    inputs = () if example_inputs is None else described(Arguments.of(example_inputs))
    return Plan(tuple(edits), {"found": "between two networks"}, inputs=inputs)


def _check_structure(dense: nn.Module, pruned: nn.Module) -> None:
    old, new = named_tensors(dense), named_tensors(pruned)
    odd = next(iter(sorted(old.keys() ^ new.keys())), None)
    if odd is not None or not same_modules(dense, pruned):
        raise _stale(f"{odd} is in one of the two only" if odd else "their layers are of different classes")
    for name, tensor in new.items():
        was, now = tuple(old[name].shape), tuple(tensor.shape)
        if len(was) != len(now) or any(n > m for n, m in zip(now, was, strict=True)):
            raise _stale(f"{name} is {now} and was {was}")


def _kept(dense: nn.Module, pruned: nn.Module, cuts: Mapping[str, Sequence[Axis]]) -> Kept:
    """What stayed of every axis that became shorter."""
    whole, part, kept, open_ = named_tensors(dense), named_tensors(pruned), Kept(), list[Axis]()
    for layer in cuts.values():
        for name in dict.fromkeys(cut.tensor for cut in layer):
            of_it = [cut for cut in layer if cut.tensor == name]
            places = _places(whole[name].detach(), part[name].detach(), [cut.axis for cut in of_it])
            kept |= {(name, axis): indices for axis, indices in places.items()}
            open_ += [cut for cut in of_it if cut.axis not in places]
    norms = tracking_norms(dense)
    for cut in open_:
        kept[cut.tensor, cut.axis] = _as_other_tensors(cut, cuts, kept, norms)
    for name, tensor in part.items():
        if not torch.equal(_sliced(whole[name].detach(), name, kept), tensor.detach().to(whole[name])):
            raise _stale(f"{name} does not hold a slice of what the dense network has there")
    return kept


def _places(whole: Tensor, part: Tensor, axes: Sequence[int]) -> dict[int, list[int]]:
    """Of each axis where the indices of `part` lie in `whole`, by the numbers that are in it once; the others not."""
    values, order = whole.flatten().sort()
    place = torch.searchsorted(values, part.flatten().to(values)).clamp(max=len(values) - 1)
    alone = torch.ones_like(values, dtype=torch.bool)
    alone[1:] &= values[1:] != values[:-1]
    alone[:-1] &= values[:-1] != values[1:]
    sure = alone[place] & (values[place] == part.flatten().to(values))
    there = torch.unravel_index(order[place[sure]], whole.shape)
    here = torch.unravel_index(sure.nonzero()[:, 0], part.shape)
    places = {axis: _most_votes(here[axis], there[axis], part.shape[axis], whole.shape[axis]) for axis in axes}
    return {axis: indices for axis, indices in places.items() if indices is not None}


def _most_votes(here: Tensor, there: Tensor, after: int, before: int) -> list[int] | None:
    """For every index here the one there that most numbers name; None where that is no rising row of them."""
    votes = torch.bincount(here * before + there, minlength=after * before).view(after, before)
    if not bool(votes.any(1).all()):
        return None
    winners = votes.argmax(1).tolist()
    return winners if winners == sorted(set(winners)) else None


def _as_other_tensors(
    cut: Axis, cuts: Mapping[str, Sequence[Axis]], kept: Kept, norms: Mapping[str, nn.Module]
) -> list[int]:
    """As the layer's other tensors kept it; where none of them tells, numbers are alike and the first ones do."""
    layer = cut.tensor.rpartition(".")[0]
    for other in cuts.get(layer, ()):
        indices = kept.get((other.tensor, other.axis))
        if indices is not None and (other.axis, other.before, other.after) == (cut.axis, cut.before, cut.after):
            return indices
    if layer in norms:
        raise StalePlan(
            f"which channels of {layer} stayed cannot be told: all hold the same numbers, as before any training; "
            "load trained weights into both networks, or plan with infoprune.plan()"
        )
    return list(range(cut.after))


def _sliced(tensor: Tensor, name: str, kept: Kept) -> Tensor:
    for (of, axis), indices in kept.items():
        if of == name:
            tensor = tensor.index_select(axis, torch.tensor(indices, device=tensor.device))
    return tensor


def _stale(why: str) -> StalePlan:
    return StalePlan(
        f"the pruned network is not a part of the dense one: {why}; give both as they were right before and right "
        "after they were cut, with nothing trained in between"
    )
