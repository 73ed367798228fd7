"""What each verb does, as a function from parsed arguments to text, data and an exit code."""

from __future__ import annotations

import argparse
import copy
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

from infoprune.artifact import read_config, read_members, save
from infoprune.artifact.layout import CONFIG
from infoprune.artifact.saving import require_free
from infoprune.cli.artefacts import artefact_in
from infoprune.cli.doctor import diagnose
from infoprune.cli.families import held, prune_family, shown_family
from infoprune.cli.layer_weights import layers_of
from infoprune.cli.output import NOT_COMPARED, Result, kept_if_unwritten, threads
from infoprune.cli.progress import Step, steps
from infoprune.cli.sections import Request, asked
from infoprune.compensation import Compensation
from infoprune.errors import BadArtifact, BadRecipe
from infoprune.files import write_atomically
from infoprune.measure import Measurement, measure
from infoprune.planning import Planned, planned
from infoprune.recipe.cuts.width import options_of
from infoprune.recipe.members import sizes_of
from infoprune.surgery import Plan, certificate_of, prune_
from infoprune.timing import LatencyComparison, compare_latency


def plan_command(arguments: argparse.Namespace) -> Result:
    asks = asked(arguments)
    if sizes_of(asks.recipe):
        raise BadRecipe("a plan is of one size; give one limit, or infoprune prune several, which makes a family")
    with steps(2) as step:
        planned = _planned(asks, step)
    timed = planned.plan.made_by.get("latency")
    text = f"{planned.plan}{_left_alone(planned)}" + (f"\nlatency  {timed}" if timed else "")
    result = Result(text, json.loads(planned.plan.to_json()))
    if arguments.out:
        with kept_if_unwritten(result):
            write_atomically(arguments.out, planned.plan.to_json().encode())
    return result


def prune_command(arguments: argparse.Namespace) -> Result:
    require_free(arguments.out)
    asks = _to_compensate(arguments) if arguments.compensate else asked(arguments)
    if sizes_of(asks.recipe):
        return prune_family(arguments, asks)
    with steps(6 if arguments.compensate else 5) as step:
        plan, model, x = _planned(asks, step).plan, asks.model, asks.x
        step("comparing with the masked original")
        certificate = certificate_of(model, x, plan)
        before, dense = measure(model, x), copy.deepcopy(model)
        prune_(model, x, plan, certify=certificate.verdict == "failed")
        done = _refitted(asks, dense, step) if arguments.compensate else None
        step("timing both networks")
        after, timed = measure(model, x), compare_latency(dense, model, x)
        text = (f"after surgery\n{done}\n\n" if done else "") + _report(plan, before, after, timed, str(certificate))
        data = {
            "before": asdict(before), "after": asdict(after), "latency": asdict(timed),
            "certificate": asdict(certificate), "compensation": done and done.to_json(), "out": str(arguments.out),
        }  # fmt: skip
        step(f"writing {arguments.out}")
        with kept_if_unwritten(Result(text, data)):
            save(arguments.out, model, plan)
    call = read_config(arguments.out).architecture.call(arguments.out)
    code = 0 if certificate.compared else NOT_COMPARED
    return Result(f"{text}\nload it with  {call}", {**data, "load_with": call}, code)


def _to_compensate(arguments: argparse.Namespace) -> Request:
    """What is asked for, once the pictures are known to be there and enough."""
    from infoprune.cli.compensating import with_pictures

    if arguments.data is None:
        raise BadRecipe("--compensate fits on pictures; add --data, a data set's name or a path")
    return with_pictures(asked(arguments, "compensate"))


def _refitted(asks: Request, dense: nn.Module, step: Step) -> Compensation:
    from infoprune.cli.compensating import refitted

    step("refitting readers")
    assert asks.task is not None
    return refitted(asks.recipe, asks.task, asks.model, dense)


def show_command(arguments: argparse.Namespace) -> Result:
    path: Path = artefact_in(arguments.path)
    if (path / CONFIG).is_file() and (members := read_members(path)):
        return shown_family(path, members)
    if (path / CONFIG).is_file():
        config = read_config(path)
        source = f"{config.architecture.source}:{config.architecture.name}"
        versions = ", ".join(f"{name} {v}" for name, v in config.versions.items())
        tables = "\n\n".join([*map(str, config.plans), *(f"after surgery\n{done}" for done in config.compensations)])
        loading = f"load it with  {config.architecture.call(path)}"
        return Result(
            f"{source}\nmade with {versions}\n{loading}\n\n{tables}",
            json.loads((path / CONFIG).read_text())["infoprune"],
        )
    if not path.is_file():
        raise BadArtifact(f"{path} is neither an artefact's directory nor a plan's file; see infoprune prune --help")
    plan = Plan.from_json(path.read_text())
    return Result(str(plan), json.loads(plan.to_json()))


def doctor_command(arguments: argparse.Namespace) -> Result:
    checks = diagnose()
    lines = [
        f"{'ok ' if c.fine else 'BAD'}  {c.name:<14} {c.found}{'' if c.fine else '  ->  ' + c.remedy}" for c in checks
    ]
    return Result("\n".join(lines), [asdict(c) for c in checks], 0 if all(c.fine for c in checks) else 1)


def _planned(asks: Request, step: Step) -> Planned:
    budget = asks.recipe.budget
    assert budget is not None
    step(f"building {asks.recipe.model.name}")
    model, x, evidence = asks.model, asks.x, asks.evidence
    step("tracing, scoring and allocating")
    limits = {"budgets": [held(limit) for limit in budget.budgets.values()]}
    wanted: dict[str, Any] = {"rates": budget.rates} if budget.rates is not None else limits
    layers = layers_of(asks, evidence)
    return planned(model, x, evidence.importance, layer_importance=layers, **options_of(budget), **wanted)


def _left_alone(planned: Planned) -> str:
    quarantined = planned.graph.quarantined
    return "".join(f"\nleft alone: {name} ({why})" for name, why in quarantined.items())


def _report(plan: Plan, before: Measurement, after: Measurement, timed: LatencyComparison, certificate: str) -> str:
    def row(name: str, was: int, now: int) -> str:
        return f"{name:<12} {was:>15,} -> {now:>15,}  {now / was:.1%}"

    return "\n".join(
        [
            str(plan),
            "",
            row("parameters", before.params, after.params),
            row("MACs", before.macs, after.macs),
            f"latency      {times(timed)}",
            f"certificate  {certificate}",
        ]
    )


def times(timed: LatencyComparison) -> str:
    """Both times and their ratio, which is that of the same rounds, so that the three fit together."""
    low, high = timed.ratio_interval
    speed = f"{1 / timed.ratio:.2f} times as fast ({1 / high:.2f} to {1 / low:.2f})"
    return f"{timed.dense_beside_ms:.2f} -> {timed.pruned_ms:.2f} ms, {speed}, {threads(timed.threads)}"
