"""Several sizes from one look: pruned by one command, and shown."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from infoprune.artifact import save
from infoprune.artifact.config import Config
from infoprune.artifact.layout import CONFIG, WEIGHTS
from infoprune.artifact.shared import kept_by
from infoprune.budgets import Budget, Counted
from infoprune.cli.layer_weights import layers_of
from infoprune.cli.output import Result, kept_if_unwritten
from infoprune.cli.progress import steps
from infoprune.cli.sections import Request
from infoprune.family import Family, family_of, table_of
from infoprune.planning import Scored, Terms, nested
from infoprune.recipe.cuts.width import options_of
from infoprune.recipe.evidence import first_of
from infoprune.recipe.members import sizes_of
from infoprune.recipe.task_kinds import KINDS
from infoprune.timing import compare_latency


def prune_family(arguments: argparse.Namespace, asks: Request) -> Result:
    """Networks of the sizes that were asked for, inside each other, in one artefact."""
    sizes, budget = sizes_of(asks.recipe), asks.recipe.budget
    assert budget is not None
    with steps(5) as step:
        step(f"building {asks.recipe.model.name}")
        model, x, evidence = asks.model, asks.x, asks.evidence
        step("tracing and scoring once, allocating each size")
        terms = Terms(layer_importance=layers_of(asks, evidence), **options_of(budget))
        scored = Scored.of(model, x, evidence.importance, terms)
        planned = nested(scored, [[*map(held, section.budgets.values())] for section in sizes.values()])
        plans = {name: one.plan for name, one in zip(sizes, planned, strict=True)}
        step("pruning and certifying each" + (", refitting readers" if arguments.compensate else ""))
        samples, loader = _pictures(asks) if arguments.compensate else (0, None)
        family = family_of(model, x, plans, loader, samples=samples)
        step("timing all of them")
        timed = {member.name: str(compare_latency(model, member.model, x)) for member in family}
        text = "\n".join([str(family), "", *(f"{name}: {line}" for name, line in timed.items())])
        data = {"members": _as_data(family), "latency": timed, "out": str(arguments.out)}
        step(f"writing {arguments.out}")
        with kept_if_unwritten(Result(text, data)):
            save(arguments.out, family)
    return Result(f"{text}\n{_loading(arguments.out, family.names)}", data)


def held(budget: Budget) -> Budget:
    """Held to what is built, where its price is only a prediction."""
    return budget if isinstance(budget, Counted) else replace(budget, refine=True)


def _pictures(asks: Request) -> tuple[int, Any]:
    section, task = asks.recipe.compensate, asks.task
    assert section is not None
    assert task is not None
    return section.samples, KINDS[task.kind].calibration(first_of(asks.recipe, task, section.samples))


def _as_data(family: Family) -> dict[str, Any]:
    return {
        member.name: {
            "prices": {unit: [price.before, price.after] for unit, price in member.plan.prices.items()},
            "compensations": [done.to_json() for done in member.compensations],
        }
        for member in family
    }


def shown_family(path: Path, members: Mapping[str, Config]) -> Result:
    """A family's members, and what each has of the file for itself."""
    first = next(iter(members.values()))
    source = f"{first.architecture.source}:{first.architecture.name}"
    versions = ", ".join(f"{name} {v}" for name, v in first.versions.items())
    rows = table_of([(name, config.plans[-1], config.compensations) for name, config in members.items()])
    own = ", ".join(f"{name} {size:,}" for name, size in kept_by(path / WEIGHTS, members).items())
    heading = f"{source}, {len(members)} members\nmade with {versions}\n{_loading(path, list(members))}\n\n{rows}"
    shared = f"bytes of tensors kept for each (the rest are slices of a larger one's): {own}"
    return Result(f"{heading}\n{shared}", json.loads((path / CONFIG).read_text())["infoprune"])


def _loading(path: Path, names: Any) -> str:
    return f'load one with  infoprune.load("{path}", member="{names[-1]}")'
