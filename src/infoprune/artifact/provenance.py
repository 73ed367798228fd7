"""Whether plans are what made a model, before anything is written of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import torch
from torch import nn

from infoprune.artifact.architecture import Architecture, Shapes, shapes_of, tried
from infoprune.errors import StalePlan
from infoprune.surgery.channels import KeepChannels
from infoprune.surgery.history import plans_of
from infoprune.surgery.plan import Plan, added_by, carry_out, check_all, removal_of


def check_lengths(model: nn.Module, plans: Sequence[Plan]) -> None:
    """Every tensor is as long as the plans, last to first, left it."""
    shapes: Shapes = {name: buffer.shape for name, buffer in model.named_buffers()} | shapes_of(model)
    for plan in reversed(plans):
        gone = {name for edit in plan.edits for name in edit.lost}
        removed = removal_of(plan.edits).indices
        for edit in plan.edits:
            left = edit.lost.keys() - edit.added.keys()
            if left and left <= shapes.keys():
                raise _not_its_story(f"it still has {min(left)}, which the plan removes")
            for name, new in edit.added.items():
                if shapes.get(name) != torch.Size(new.shape):
                    length = list(shapes[name]) if name in shapes else "absent"
                    raise _not_its_story(f"{name} is {length}, and the plan puts in {list(new.shape)}")
            slots = edit.coupling.slots if isinstance(edit, KeepChannels) else ()
            for slot in (s for s in slots if s.tensor in shapes or s.tensor not in gone):
                left = slot.size - len(removed.get(slot.tensor, {}).get(slot.axis, ()))
                shape = shapes.get(slot.tensor)
                if shape is None or len(shape) <= slot.axis or shape[slot.axis] != left:
                    length = "absent" if shape is None else f"{list(shape)} in it"
                    raise _not_its_story(f"{slot.tensor} is {length}, and the plan leaves {left} on axis {slot.axis}")
        shapes = shapes_before(model, shapes, plan)


def shapes_before(model: nn.Module, shapes: Shapes, plan: Plan) -> dict[str, torch.Size]:
    """The shapes that the tensors had before the plan; edits tell the first of several names of one parameter."""
    added, tied = added_by(plan.edits), tied_names(model)
    grown = {name: shape for name, shape in shapes.items() if name not in added}
    for name, axes in removal_of(plan.edits).indices.items():
        for alias in (alias for alias in tied.get(name, (name,)) if alias in grown):
            grown[alias] = torch.Size(n + len(axes.get(axis, ())) for axis, n in enumerate(grown[alias]))
    return {**grown, **{name: torch.Size(shape) for edit in plan.edits for name, shape in edit.lost.items()}}


def tied_names(model: nn.Module) -> dict[str, list[str]]:
    """The first name of every parameter -> all its names."""
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return {first: [first, *others] for first, *others in names.values()}


def check_history(model: nn.Module, plans: Sequence[Plan]) -> None:
    """The plans end with those that were carried out on this very object."""
    known = [_edits(plan) for plan in plans_of(model)]
    if known and [_edits(plan) for plan in plans][-len(known) :] != known:
        raise _not_its_story(f"{len(known)} were carried out on it and save() was given {len(plans)} or others")


def check_built(
    model: nn.Module, plans: Sequence[Plan], architecture: Architecture, factory: Callable[[], nn.Module]
) -> None:
    """What `factory` builds becomes a network of the same tensors by the plans."""
    built = tried(lambda: architecture.build(factory))
    if built is None:
        return  # loading tells why
    for plan in plans:
        try:
            check_all(built, plan)
        except StalePlan as error:
            raise _not_its_story(f"what factory builds is another network ({error})") from error
        carry_out(built, plan.edits)
    ours, theirs = shapes_of(model), shapes_of(built)
    odd = next((name for name in [*ours, *theirs] if ours.get(name) != theirs.get(name)), None)
    if odd is not None:
        shapes = [list(tensors[odd]) if odd in tensors else "absent" for tensors in (ours, theirs)]
        raise _not_its_story(f"{odd} is {shapes[0]} in it and {shapes[1]} in what factory and plans make")


def _edits(plan: Plan) -> object:
    return json.loads(plan.to_json())["edits"]


def _not_its_story(why: str) -> StalePlan:
    return StalePlan(
        f"the plans are not what made this model: {why}; pass all plans that it was pruned by, in their order"
    )
