"""What each verb does, as a function from parsed arguments to text, data and an exit code."""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from torch import Tensor, nn

from infoprune.artifact import read_config, save
from infoprune.artifact.saving import CONFIG
from infoprune.cli.doctor import diagnose
from infoprune.cli.models import build_model, example_input
from infoprune.cli.output import NOT_COMPARED, Result
from infoprune.cli.progress import Step, steps
from infoprune.compensation import Compensation
from infoprune.errors import BadArtifact, BadRecipe, UnusableData
from infoprune.files import write_atomically
from infoprune.importance import Importance, importances
from infoprune.measure import Measurement, measure
from infoprune.planning import Planned, planned
from infoprune.recipe.sections import UNLESS_TOLD, ImportanceSection
from infoprune.surgery import Plan, certificate_of, prune_


def plan_command(arguments: argparse.Namespace) -> Result:
    with steps(2) as step:
        made = _planned(arguments, *_model_and_input(arguments, step), step)
    if arguments.out:
        write_atomically(arguments.out, made.plan.to_json().encode())
    return Result(f"{made.plan}{_left_alone(made)}", json.loads(made.plan.to_json()))


def prune_command(arguments: argparse.Namespace) -> Result:
    refit = _refit(arguments)
    with steps(6 if arguments.compensate else 5) as step:
        model, x = _model_and_input(arguments, step)
        plan = _planned(arguments, model, x, step).plan
        step("comparing with the masked original")
        certificate = certificate_of(model, x, plan)
        before = measure(model, x, latency=True)
        dense = copy.deepcopy(model) if arguments.compensate else model
        prune_(model, x, plan, certify=certificate.verdict == "failed")
        done = refit(model, dense, step)
        step("timing the pruned network")
        after = measure(model, x, latency=True)
        step(f"writing {arguments.out}")
        save(arguments.out, model, plan)
    data = {
        "before": asdict(before),
        "after": asdict(after),
        "certificate": asdict(certificate),
        "out": str(arguments.out),
        "compensation": None if done is None else done.to_json(),
        "load_with": (call := read_config(arguments.out).architecture.call(arguments.out)),
    }
    code = 0 if certificate.compared else NOT_COMPARED
    told = f"after surgery\n{done}\n\n" if done else ""
    return Result(told + _report(plan, before, after, str(certificate), call), data, code)


def _refit(arguments: argparse.Namespace) -> Callable[[nn.Module, nn.Module, Step], Compensation | None]:
    """What is to be done after surgery, once the data for it are known to be there."""
    if not arguments.compensate:
        if arguments.data or arguments.set:
            raise BadRecipe("--data is read for --compensate alone; add --compensate, or leave --data and --set out")
        return lambda model, dense, step: None
    if arguments.data is None:
        raise BadRecipe("--compensate fits on pictures; add --data NAME, see infoprune list data")
    from infoprune.cli.compensating import asked_of, data_of, refitted

    recipe = asked_of(arguments, "prune")
    task = data_of(recipe)
    if not (arguments.pretrained or arguments.weights) and arguments.num_classes is None:
        arguments.num_classes = task.classes
    arguments.input = arguments.input or "x".join(map(str, (1, *task.shape)))

    def refit(model: nn.Module, dense: nn.Module, step: Step) -> Compensation:
        step("refitting readers")
        return refitted(recipe, task, model, dense, None)

    return refit


def show_command(arguments: argparse.Namespace) -> Result:
    path: Path = arguments.path
    if (path / CONFIG).is_file():
        config = read_config(path)
        source = f"{config.architecture.source}:{config.architecture.name}"
        made = ", ".join(f"{name} {v}" for name, v in config.versions.items())
        tables = "\n\n".join([*map(str, config.plans), *(f"after surgery\n{done}" for done in config.compensations)])
        loading = f"load it with  {config.architecture.call(path)}"
        return Result(
            f"{source}\nmade with {made}\n{loading}\n\n{tables}", json.loads((path / CONFIG).read_text())["infoprune"]
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


def _model_and_input(arguments: argparse.Namespace, step: Step) -> tuple[nn.Module, Tensor]:
    step(f"building {arguments.model}")
    model = build_model(arguments)
    return model, example_input(model, arguments.input)


def _planned(arguments: argparse.Namespace, model: nn.Module, x: Tensor, step: Step) -> Planned:
    step("tracing, scoring and allocating")
    return planned(
        model,
        x,
        _importance(arguments.importance),
        budgets=arguments.budgets,
        round_to=arguments.round_to,
        floor=arguments.floor,
        utility=arguments.utility,
        solver=arguments.solver,
        ignored_layers=arguments.ignore,
    )


def _importance(name: str | None) -> Importance:
    chosen = ImportanceSection(name) if name else UNLESS_TOLD
    if importances[chosen.name].about.needs_data:
        raise UnusableData(f"{name} scores by data, which this command has none of; use it from Python or in a recipe")
    return importances[chosen.name](**chosen.options)


def _left_alone(made: Planned) -> str:
    quarantined = made.graph.quarantined
    return "".join(f"\nleft alone: {name} ({why})" for name, why in quarantined.items())


def _report(plan: Plan, before: Measurement, after: Measurement, certificate: str, call: str) -> str:
    def row(name: str, was: float, now: float, style: str) -> str:
        return f"{name:<12} {was:>15{style}} -> {now:>15{style}}  {now / was:.1%}"

    rows = [
        str(plan),
        "",
        row("parameters", before.params, after.params, ","),
        row("MACs", before.macs, after.macs, ","),
    ]
    if before.latency_ms and after.latency_ms:
        rows.append(row("latency (ms)", before.latency_ms, after.latency_ms, ".2f"))
    rows += [f"certificate  {certificate}", f"load it with  {call}"]
    return "\n".join(rows)
