"""The verbs that need data: run, finetune and observe."""

from __future__ import annotations

import argparse
import json
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

from infoprune.artifact import load, read_config, save
from infoprune.cli.output import NOT_COMPARED, Result
from infoprune.data import First, Task, datasets
from infoprune.errors import BadRecipe, Interrupted
from infoprune.files import held
from infoprune.finetune import Surroundings, Workers, joined, train
from infoprune.observe import observe
from infoprune.recipe import OnStderr, read_recipe, recipe_of, run
from infoprune.recipe.checks import check_kind
from infoprune.recipe.display import stopping
from infoprune.recipe.kinds import KINDS
from infoprune.recipe.networks import build_network
from infoprune.recipe.pricing import price
from infoprune.recipe.sections import SCHEMA, DataSection, Recipe
from infoprune.recipe.yaml_text import parsed
from infoprune.report.back import summary
from infoprune.report.model import FILE, Interval, Report
from infoprune.report.page import PAGE, gained
from infoprune.report.svg import number


def run_command(arguments: argparse.Namespace) -> Result:
    recipe = read_recipe(arguments.recipe, arguments.set)
    if arguments.dry_run:
        priced = price(recipe)
        return Result(str(priced), asdict(priced))
    out = arguments.out or Path("runs") / arguments.recipe.stem
    report = run(recipe, out, display=OnStderr())
    code = NOT_COMPARED if "not compared" in report.certificate else 0
    return Result(_summary(report, out), json.loads((out / FILE).read_text()), code)


def finetune_command(arguments: argparse.Namespace) -> Result:
    """Train an artefact further; its checkpoints lie beside the new one."""
    config, out = read_config(arguments.artefact), arguments.out
    recipe = for_data(arguments, "finetune", "finetune")
    task, training, display = task_of(recipe), recipe.finetune, OnStderr()
    check_kind(recipe, task)
    model, teacher = load(arguments.artefact), None
    if arguments.dense:
        teacher = build_network(config.architecture.name, num_classes=task.classes, weights=arguments.dense)
    with joined() as workers, stopping(display.say) as wish, held(out) if workers.first else nullcontext():
        around = Surroundings(
            checkpoints=out.with_name(f"{out.name}.checkpoints"),
            workers=recipe.data.workers,
            note=lambda progress: display.progress("finetune", progress),
            say=display.say,
            stop=lambda: wish.stop,
        )
        batch = min(recipe.data.batch, len(task.train))
        ended = train(
            model, task.train, training, batch=batch, seed=recipe.seed, classes=task.classes, teacher=teacher,
            goal=KINDS[task.kind].goal, around=around,
        )  # fmt: skip
        if ended.ended == "stopped":
            raise Interrupted(f"stopped after step {ended.steps}; the same command goes on from there")
        told, judged = judged_on(model, task, recipe)
        if workers.first:
            save(out, model, config.plans, compensation=config.compensations)
        Workers.now().wait()
    data = {"out": str(out), "steps": ended.steps, "seconds": ended.seconds, **judged}
    return Result(f"{ended.steps} steps, {told}\nload it with  {config.architecture.call(out)}", data)


def judged_on(model: nn.Module, task: Task, recipe: Recipe) -> tuple[str, dict[str, Any]]:
    """What the model reaches on held-out pictures, in words and as data."""
    data, judged = recipe.data, KINDS[task.kind].judged
    found = judged(model, task, batch=data.batch, precision=recipe.finetune.precision, workers=data.workers)
    return f"accuracy {_percent(found.accuracy)}" if found.accuracy else found.words, dict(found.intervals)


def observe_command(arguments: argparse.Namespace) -> Result:
    """One pass over calibration data, kept as a file."""
    recipe = for_data(arguments, "observe", "finetune")
    task = task_of(recipe)
    model = build_network(
        arguments.model,
        num_classes=arguments.num_classes or (None if arguments.pretrained or arguments.weights else task.classes),
        weights=arguments.weights,
        pretrained=arguments.pretrained,
    )
    with joined() as us:
        loader = First(task.train, recipe.data.calibration, recipe.data.batch, recipe.seed, us.rank, us.world)
        seen = observe(model, KINDS[task.kind].calibration(loader))
        seen = seen.all_reduce() if us.world > 1 else seen
        if us.first:
            seen.save(arguments.out)
    data = {"out": str(arguments.out), "layers": len(seen.layers), "samples": seen.samples, "silent": dict(seen.silent)}
    return Result(f"{seen}\nread it with  infoprune.Observations.load({str(arguments.out)!r})", data)


def for_data(arguments: argparse.Namespace, verb: str, section_of_it: str) -> Recipe:
    """A recipe of which only data, one more section and seed count."""
    told: dict = {
        "schema": SCHEMA,
        "model": {"name": "resnet20_cifar"},
        "data": {"name": arguments.data},
        "budget": {"macs": 0.5},
    }
    for change in arguments.set:
        path, _, text = change.partition("=")
        section, _, key = path.partition(".")
        if section not in ("data", section_of_it, "seed"):
            raise BadRecipe(f"--set {path}: {verb} takes keys of data and {section_of_it}, and seed")
        if key:
            told.setdefault(section, {})[key] = parsed(text, f"--set {path}")
        else:
            told[section] = parsed(text, f"--set {path}")
    return recipe_of(told)


def task_of(recipe: Recipe) -> Task:
    """The data."""
    data: DataSection = recipe.data
    return datasets[data.name](data.root, size=data.size, seed=recipe.seed, **data.options)


def _summary(report: Report, out: Path) -> str:
    def row(name: str, was: str, now: str, more: str) -> str:
        return f"{name:<12} {was:>18} -> {now:>18}  {more}"

    before, after = report.before, report.after
    rows = [
        row("parameters", f"{before.params:,}", f"{after.params:,}", f"{after.params / before.params:.1%} remain"),
        row("MACs", f"{before.macs:,}", f"{after.macs:,}", f"{after.macs / before.macs:.1%} remain"),
    ]
    if before.accuracy and after.accuracy:
        gap = 100 * (after.accuracy.value - before.accuracy.value)
        rows.append(
            row(
                "accuracy",
                f"{before.accuracy.value:.2%}",
                f"{after.accuracy.value:.2%}",
                f"{gap:+.2f} points, {_percent(after.accuracy)}",
            )
        )
    if before.latency_ms and after.latency_ms and report.latency_ratio:
        ratio = report.latency_ratio
        more = f"{ratio.value:.2f} times as fast ({ratio.low:.2f} to {ratio.high:.2f})"
        rows.append(row("latency", f"{before.latency_ms.value:.2f} ms", f"{after.latency_ms.value:.2f} ms", more))
    rows += [f"{name:<12} {verdict}" for name, verdict in report.budgets.items()]
    rows += [
        row(now.name, number(was.value.value), number(now.value.value), now.unit)
        for was, now in zip(before.scores, after.scores, strict=True)
    ]
    rows += summary(report)
    alike = f"at the same widths after {report.tuning}" if report.tuning else "with as many features"
    for baseline in report.baselines:
        gain = baseline.gain
        told = "no evidence of a gain" if gain.low <= 0 <= gain.high else "gain" if gain.low > 0 else "loss"
        rows.append(f"against {baseline.told} {alike}: {gained(baseline)} ({told})")
    return "\n".join(
        [*rows, f"certificate  {report.certificate}", f"report       {out / PAGE}", report.load.splitlines()[-1]]
    )


def _percent(interval: Interval) -> str:
    return f"{interval.value:.2%} ({interval.low:.1%} to {interval.high:.1%})"
