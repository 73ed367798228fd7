"""save(): write beside, then rename, so that a directory is either the whole artefact or what it was."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from infoprune.artifact.architecture import Architecture, identify, shapes_of
from infoprune.artifact.config import read_config
from infoprune.artifact.hub import hub_fields
from infoprune.artifact.layout import CONFIG, FAMILY, SCHEMA, WEIGHTS, content_digest
from infoprune.artifact.loading import load
from infoprune.artifact.probe import SEED, ask, reproducible
from infoprune.artifact.provenance import check_built, check_history, check_lengths, shapes_before
from infoprune.artifact.shared import own_tensors
from infoprune.compensation import Compensation
from infoprune.compensation.history import compensations_of
from infoprune.errors import InfopruneError
from infoprune.family import Family
from infoprune.files import digest_of, replace_directory, write_tensors
from infoprune.graph.counting import COUNTER
from infoprune.graph.wrappers import bare, require_whole
from infoprune.require import require_model, require_path, require_values
from infoprune.surgery.plan import Plan


def save(
    directory: str | os.PathLike[str],
    model: nn.Module | Family,
    plan: Plan | Sequence[Plan] | None = None,
    *,
    from_pruner: Any = None,
    factory: Callable[[], nn.Module] | None = None,
    example_inputs: Any = None,
    compensation: Compensation | Sequence[Compensation] | None = None,
) -> Path:
    """Write the pruned `model` and the plan (or plans) that made it; return the directory.

    A family brings its plans and compensations, and becomes one artefact in which a tensor is kept once for all members
    of which it is a slice; `load(directory, member=...)` brings one of them back.

    The directory appears complete or not at all; an artefact that was there is replaced, anything else is refused.
    Plans that are not what made the model are refused before anything is written.
    Models that timm, torchvision or `infoprune.models` build by name are found again by `load(directory)`; for any
    other class, `load(directory, factory=...)` takes the function that builds the dense model, and
    `read_config(directory).architecture.call(directory)` tells which.

    Args:
        directory: Where to write; a new folder, or one that holds an artefact.
        model: The network after `prune_`.
        plan: What made it: a plan, or several in the order in which they were applied.
        from_pruner: In place of a plan, the stock torch-pruning pruner whose steps made the model.
        factory: Builds the dense network, to be compared with what the pruner remembers, where no registry does.
        example_inputs: What the model takes, where the pruner's own inputs are not to be had any more.
        compensation: What `compensate_` returned, once or for each plan: the artefact tells what was refitted beside
            what surgery did. Of this very object it is known; a copy or a loaded model needs it.
    """
    require_path(directory, "directory", "that the artefact is to have")
    if isinstance(model, Family):
        if any(argument is not None for argument in (plan, from_pruner, example_inputs, compensation)):
            raise TypeError("a family brings its plans and compensations; call save(directory, family)")
        return _save_family(Path(directory), model, factory)
    require_model(model)
    target = Path(directory).resolve()
    require_free(target)
    model = bare(model)
    require_whole(model)
    done = _compensations(model, compensation)
    plans, architecture = _story(model, plan, from_pruner, factory, example_inputs)

    def fill(staging: Path) -> None:
        _write(staging, model, plans, architecture, done)
        _check_loads(staging, factory)

    replace_directory(target, fill)
    return Path(directory)


def story_of(model: nn.Module, plan: Plan | Sequence[Plan]) -> tuple[tuple[Plan, ...], Architecture]:
    """The plans that made the model, checked, and the dense architecture that they began with."""
    return _story(model, plan, None, None, None)


def _story(
    model: nn.Module, plan: Plan | Sequence[Plan] | None, pruner: Any, factory: Any, example_inputs: Any
) -> tuple[tuple[Plan, ...], Architecture]:
    """The plans that made the model, and the dense architecture that they began with."""
    require_values(model, "to write")
    if (plan is None) == (pruner is None):
        which = "neither" if plan is None else "both"
        raise ValueError(f"save() was given {which} of plan and from_pruner; pass the one that made the model")
    if pruner is not None:
        from infoprune.artifact.from_host import pruned_by

        story = pruned_by(pruner, model, example_inputs, factory)
        return (story.plan,), story.architecture
    plans = _plans(plan)
    check_lengths(model, plans)
    check_history(model, plans)
    replaced = {name.rpartition(".")[0] for plan in plans for edit in plan.edits if edit.added for name in edit.lost}
    architecture = identify(model, dense_shapes(model, plans), replaced)
    if factory is not None:
        check_built(model, plans, architecture, factory)
    return plans, architecture


def _plans(plan: object) -> tuple[Plan, ...]:
    """One plan, or several in the order in which they were carried out."""
    plans = plan if isinstance(plan, list | tuple) else (plan,)
    odd = [type(one).__name__ for one in plans if not isinstance(one, Plan)]
    if odd:
        raise TypeError(f"plan is a {odd[0]}; pass what plan() returned, or several of those in a list")
    return tuple(one for one in plans if isinstance(one, Plan))


def _compensations(
    model: nn.Module, compensation: Compensation | Sequence[Compensation] | None
) -> tuple[Compensation, ...]:
    """What was given, or what is known of this object."""
    if compensation is None:
        return compensations_of(model)
    done = (compensation,) if isinstance(compensation, Compensation) else tuple(compensation)
    odd = next((one for one in done if not isinstance(one, Compensation)), None)
    if odd is not None:
        raise TypeError(f"compensation holds a {type(odd).__name__}; pass what compensate_() returned")
    return done


def _write(
    directory: Path,
    model: nn.Module,
    plans: Sequence[Plan],
    architecture: Architecture,
    compensations: Sequence[Compensation],
) -> None:
    write_tensors(directory / WEIGHTS, _state(model), {"format": "pt"})
    config = {**_of_all(directory, architecture, SCHEMA), **_of_one(model, plans, compensations)}
    _write_config(directory, config, hub_fields(architecture, model))


def _save_family(directory: Path, family: Family, factory: Callable[[], nn.Module] | None) -> Path:
    target = directory.resolve()
    require_free(target)
    stories = [_story(bare(member.model), member.plans, None, factory, None) for member in family]
    architecture = stories[0][1]

    def fill(staging: Path) -> None:
        own = own_tensors([_state(bare(member.model)) for member in family], [member.plan for member in family])
        tensors = {f"{member.name}/{n}": t for member, held in zip(family, own, strict=True) for n, t in held.items()}
        write_tensors(staging / WEIGHTS, tensors, {"format": "pt"})
        members = [{"name": m.name, **_of_one(bare(m.model), m.plans, m.compensations)} for m in family]
        _write_config(staging, {**_of_all(staging, architecture, FAMILY), "members": members}, {})
        for name in family.names:
            _check_loads(staging, factory, name)

    replace_directory(target, fill)
    return directory


def _state(model: nn.Module) -> dict[str, Tensor]:
    return {k: v.detach().cpu().contiguous().clone() for k, v in model.state_dict().items() if isinstance(v, Tensor)}


def _of_all(directory: Path, architecture: Architecture, schema: int) -> dict[str, Any]:
    """What is said once, also of a family."""
    return {
        "schema": schema,
        "architecture": _described(architecture),
        "versions": {name: version(name) for name in ("infoprune", "torch", "timm", "torch-pruning")},
        "counter": COUNTER,
        "sha256": digest_of(directory / WEIGHTS),
    }


def _of_one(model: nn.Module, plans: Sequence[Plan], compensations: Sequence[Compensation]) -> dict[str, Any]:
    """What is said of every network."""
    entry: dict[str, Any] = {
        "plans": [json.loads(p.to_json()) for p in plans],
        "widths": {name: width for p in plans for name, width in p.widths.items()},
        "probe": _probe(model, plans),
    }
    if compensations:  # releases before there were any still read what has none
        entry["compensations"] = [done.to_json() for done in compensations]
    return entry


def _write_config(directory: Path, config: dict[str, Any], beside: Mapping[str, Any]) -> None:
    text = json.dumps({**beside, "infoprune": config, "digest": content_digest(config)}, indent=1)
    (directory / CONFIG).write_text(text)


def _probe(model: nn.Module, plans: Sequence[Plan]) -> dict[str, Any] | None:
    if not (plans and plans[0].inputs and reproducible(plans[0].inputs)):
        return None
    answer = ask(model, plans[0].inputs)
    return {"seed": SEED, "digest": answer.digest, "samples": list(answer.samples), "largest": answer.largest}


def dense_shapes(model: nn.Module, plans: Sequence[Plan]) -> dict[str, torch.Size]:
    """The shapes that the tensors had before the plans."""
    shapes = shapes_of(model)
    for plan in reversed(plans):
        shapes = shapes_before(model, shapes, plan)
    return shapes


def _described(architecture: Architecture) -> dict[str, Any]:
    return {"source": architecture.source, "name": architecture.name, "arguments": dict(architecture.arguments)}


def _check_loads(directory: Path, factory: Callable[[], nn.Module] | None, member: str | None = None) -> None:
    """An artefact that can't be read back is not an artefact."""
    if factory is not None or read_config(directory, member=member).architecture.source != "factory":
        load(directory, factory=factory, member=member)


def require_free(target: Path) -> None:
    """Raise InfopruneError unless `target` is absent, empty or an artefact, which another may replace."""
    if target.is_dir() and not any(target.iterdir()):
        return
    if target.exists() and not (target / CONFIG).is_file():
        raise InfopruneError(f"{target} exists and is not an artefact of ours; choose another directory")
    odd = [p.name for p in target.iterdir() if p.name not in (CONFIG, WEIGHTS)] if target.is_dir() else []
    if odd:
        raise InfopruneError(f"{target} also holds {sorted(odd)[:3]}, which would be lost; choose another directory")
