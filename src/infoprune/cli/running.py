"""The verbs that need data: run, finetune and observe."""

from __future__ import annotations

import argparse
import json
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

from infoprune.artifact import read_config, save
from infoprune.artifact.saving import require_free
from infoprune.cli.artefacts import loaded, section_of
from infoprune.cli.default_paths import default_out
from infoprune.cli.output import NOT_COMPARED, Result, kept_if_unwritten, threads
from infoprune.cli.sections import asked, for_data
from infoprune.data import First, Task
from infoprune.errors import Interrupted
from infoprune.files import held
from infoprune.finetune import Processes, Surroundings, joined, train
from infoprune.models.checkpoint import load_weights
from infoprune.observe import observe
from infoprune.recipe import OnStderr, read_recipe, run, run_family
from infoprune.recipe.checks import check_kind, check_width
from infoprune.recipe.display import stopping
from infoprune.recipe.members import sizes_of
from infoprune.recipe.pricing import price, price_family
from infoprune.recipe.reporting import ARTEFACT
from infoprune.recipe.sections import Recipe
from infoprune.recipe.task_kinds import KINDS
from infoprune.recipe.tasks import task_of
from infoprune.report.model import FILE, Interval, Report
from infoprune.report.page import PAGE, gained
from infoprune.report.recovery import summary
from infoprune.report.svg import number


def run_command(arguments: argparse.Namespace) -> Result:
    recipe = read_recipe(arguments.recipe, arguments.set)
    if sizes_of(recipe):
        return _family(arguments, recipe)
    if arguments.dry_run:
        priced = price(recipe)
        return Result(str(priced), asdict(priced))
    out = arguments.out or default_out(arguments.recipe)
    report = run(recipe, out, display=OnStderr())
    code = NOT_COMPARED if "not compared" in report.certificate else 0
    return Result(_summary(report, out), json.loads((out / FILE).read_text()), code)


def _family(arguments: argparse.Namespace, recipe: Recipe) -> Result:
    """A recipe that lists several sizes: each is priced, or all are carried out."""
    if arguments.dry_run:
        priced = price_family(recipe)
        text = "\n\n".join(f"member {name}\n{one}" for name, one in priced.items())
        return Result(text, {name: asdict(one) for name, one in priced.items()})
    out = arguments.out or default_out(arguments.recipe)
    reports = run_family(recipe, out, display=OnStderr())
    text = "\n\n".join(f"member {name}\n{_summary(report, out / name)}" for name, report in reports.items())
    code = NOT_COMPARED if any("not compared" in report.certificate for report in reports.values()) else 0
    data = {name: json.loads((out / name / FILE).read_text()) for name in reports}
    return Result(f"{text}\n\nall members  {out / ARTEFACT}\nreport       {out / PAGE}", data, code)


def finetune_command(arguments: argparse.Namespace) -> Result:
    """Train an artefact further; its checkpoints lie beside the new one."""
    out = arguments.out
    require_free(out)
    place, model, factory = loaded(arguments.artefact, arguments)
    config = read_config(place, member=arguments.member)
    recipe = for_data(arguments, section_of(place, arguments), "finetune")
    task, training, display = task_of(recipe), recipe.finetune, OnStderr()
    check_kind(recipe, task)
    check_width(place, model, task)
    teacher = None
    if arguments.dense:
        teacher = config.architecture.build(factory).eval()
        load_weights(teacher, arguments.dense)
    with joined() as processes, stopping(display.say) as wish, held(out) if processes.first else nullcontext():
        around = Surroundings(
            checkpoints=out.with_name(f"{out.name}.checkpoints"),
            workers=recipe.data.workers,
            note=lambda progress: display.progress("finetune", progress),
            say=display.say,
            stop=lambda: wish.stop,
        )
        before, judged_before = judged_on(model, task, recipe)
        batch = min(recipe.data.batch, len(task.train))
        ended = train(
            model, task.train, training, batch=batch, seed=recipe.seed, classes=task.classes, teacher=teacher,
            goal=KINDS[task.kind].goal, around=around,
        )  # fmt: skip
        if ended.ended == "stopped":
            raise Interrupted(f"stopped after step {ended.steps}; the same command goes on from there")
        words, judged = judged_on(model, task, recipe)
        told = f"{ended.steps} steps, {words}; before them {before}"
        data = {"out": str(out), "steps": ended.steps, "seconds": ended.seconds, **judged, "before": judged_before}
        if processes.first:
            with kept_if_unwritten(Result(told, data)):
                save(out, model, config.plans, factory=factory, compensation=config.compensations)
        Processes.now().wait()
    return Result(f"{told}\nload it with  {config.architecture.call(out)}", data)


def judged_on(model: nn.Module, task: Task, recipe: Recipe) -> tuple[str, dict[str, Any]]:
    """What the model reaches on held-out pictures, in words and as data."""
    data, judged = recipe.data, KINDS[task.kind].judged
    quality = judged(model, task, batch=data.batch, precision=recipe.finetune.precision, workers=data.workers)
    return f"accuracy {_percent(quality.accuracy)}" if quality.accuracy else quality.words, dict(quality.intervals)


def observe_command(arguments: argparse.Namespace) -> Result:
    """One pass over calibration data, kept as a file."""
    asks = asked(arguments)
    recipe, task, model = asks.recipe, asks.task, asks.model
    assert task is not None
    with joined() as us:
        loader = First(task.train, recipe.data.calibration, recipe.data.batch, recipe.seed, us.rank, us.world)
        seen = observe(model, KINDS[task.kind].calibration(loader))
        seen = seen.all_reduce() if us.world > 1 else seen
        data = {"out": str(arguments.out), "layers": len(seen.layers), "samples": seen.samples}
        data |= {"silent": dict(seen.silent)}
        if us.first:
            with kept_if_unwritten(Result(str(seen), data)):
                seen.save(arguments.out)
    return Result(f"{seen}\nread it with  infoprune.Observations.load({str(arguments.out)!r})", data)


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
        ratio, count = report.latency_ratio, int(report.environment.get("threads", 1))
        more = f"{ratio.value:.2f} times as fast ({ratio.ends('.2f')}), {threads(count)}"
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
        conclusion = "no evidence of a gain" if gain.low <= 0 <= gain.high else "gain" if gain.low > 0 else "loss"
        rows.append(f"against {baseline.label} {alike}: {gained(baseline)} ({conclusion})")
    return "\n".join(
        [*rows, f"certificate  {report.certificate}", f"report       {out / PAGE}", report.load.splitlines()[-1]]
    )


def _percent(interval: Interval) -> str:
    return f"{interval.value:.2%} ({interval.ends()})"
