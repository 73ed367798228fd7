"""save(): write beside, then rename, so that a directory is either the whole artefact or what it was."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from infoprune.artifact.architecture import Architecture, identify, shapes_of
from infoprune.artifact.hub import hub_fields
from infoprune.artifact.layout import CONFIG, SCHEMA, WEIGHTS, content_digest
from infoprune.artifact.loading import load, read_config
from infoprune.artifact.probe import SEED, ask, reproducible
from infoprune.artifact.provenance import check_built, check_history, check_lengths, shapes_before
from infoprune.compensation import Compensation
from infoprune.compensation.history import compensations_of
from infoprune.errors import InfopruneError
from infoprune.files import digest_of, replace_directory, write_tensors
from infoprune.graph.counting import COUNTER
from infoprune.graph.wrappers import bare, require_whole
from infoprune.require import require_model, require_path
from infoprune.surgery.plan import Plan


def save(
    directory: str | os.PathLike[str],
    model: nn.Module,
    plan: Plan | Sequence[Plan] | None = None,
    *,
    from_pruner: Any = None,
    factory: Callable[[], nn.Module] | None = None,
    example_inputs: Any = None,
    compensation: Compensation | Sequence[Compensation] | None = None,
) -> Path:
    """Write the pruned `model` and the plan (or plans, in the order in which they were applied) that made it.

    In place of a plan, `from_pruner` takes the stock torch-pruning pruner whose steps made the model. `factory` then
    builds the dense network, to be compared with what the pruner remembers, where no registry does, and
    `example_inputs` are what the model takes, where the pruner's own are not to be had any more.

    `compensation` is what `compensate_` returned, once or for each plan: the artefact tells what was refitted beside
    what surgery did. Of this very object it is known; a copy or a loaded model needs it.

    The directory appears complete or not at all; an artefact that was there is replaced, anything else is refused.
    Plans that are not what made the model are refused before anything is written.
    Models that timm, torchvision or `infoprune.models` build by name are found again by `load(directory)`; for any
    other class, `load(directory, factory=...)` takes the function that builds the dense model, and
    `read_config(directory).architecture.call(directory)` tells which. Returns the directory.
    """
    require_path(directory, "directory", "that the artefact is to have")
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
    if (plan is None) == (pruner is None):
        found = "neither" if plan is None else "both"
        raise ValueError(f"save() was given {found} of plan and from_pruner; pass the one that made the model")
    if pruner is not None:
        from infoprune.artifact.from_host import pruned_by

        made = pruned_by(pruner, model, example_inputs, factory)
        return (made.plan,), made.architecture
    plans = _plans(plan)
    check_lengths(model, plans)
    check_history(model, plans)
    replaced = {name.rpartition(".")[0] for plan in plans for edit in plan.edits if edit.added for name in edit.lost}
    architecture = identify(model, dense_shapes(model, plans), replaced)
    if factory is not None:
        check_built(model, plans, architecture, factory)
    return plans, architecture


def _plans(given: object) -> tuple[Plan, ...]:
    """One plan, or several in the order in which they were carried out."""
    plans = given if isinstance(given, list | tuple) else (given,)
    odd = [type(one).__name__ for one in plans if not isinstance(one, Plan)]
    if odd:
        raise TypeError(f"plan is a {odd[0]}; pass what plan() returned, or several of those in a list")
    return tuple(one for one in plans if isinstance(one, Plan))


def _compensations(model: nn.Module, given: Compensation | Sequence[Compensation] | None) -> tuple[Compensation, ...]:
    """What was given, or what is known of this object."""
    if given is None:
        return compensations_of(model)
    done = (given,) if isinstance(given, Compensation) else tuple(given)
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
    state = {k: v.detach().cpu().contiguous().clone() for k, v in model.state_dict().items() if isinstance(v, Tensor)}
    write_tensors(directory / WEIGHTS, state, {"format": "pt"})
    config: dict[str, Any] = {
        "schema": SCHEMA,
        "architecture": _described(architecture),
        "plans": [json.loads(p.to_json()) for p in plans],
        "widths": {name: width for p in plans for name, width in p.widths.items()},
        "versions": {name: version(name) for name in ("infoprune", "torch", "timm", "torch-pruning")},
        "counter": COUNTER,
        "sha256": digest_of(directory / WEIGHTS),
        "probe": _probe(model, plans),
    }
    if compensations:  # releases before there were any still read what has none
        config["compensations"] = [done.to_json() for done in compensations]
    text = json.dumps(
        {**hub_fields(architecture, model), "infoprune": config, "digest": content_digest(config)}, indent=1
    )
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


def _check_loads(directory: Path, factory: Callable[[], nn.Module] | None) -> None:
    """An artefact that can't be read back is not an artefact."""
    if factory is not None or read_config(directory).architecture.source != "factory":
        load(directory, factory=factory)


def require_free(target: Path) -> None:
    """Raise InfopruneError unless `target` is absent, empty or an artefact, which another may replace."""
    if target.is_dir() and not any(target.iterdir()):
        return
    if target.exists() and not (target / CONFIG).is_file():
        raise InfopruneError(f"{target} exists and is not an artefact of ours; choose another directory")
    odd = [p.name for p in target.iterdir() if p.name not in (CONFIG, WEIGHTS)] if target.is_dir() else []
    if odd:
        raise InfopruneError(f"{target} also holds {sorted(odd)[:3]}, which would be lost; choose another directory")
