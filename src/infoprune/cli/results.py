"""The verbs for what a run left: report, bench and export."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

from infoprune.artifact import read_config
from infoprune.artifact.probe import probe_inputs, reproducible
from infoprune.cli.artefacts import loaded, section_of
from infoprune.cli.default_paths import default_out
from infoprune.cli.output import Result, as_table
from infoprune.cli.sections import for_data
from infoprune.errors import BadRecipe, InfopruneError
from infoprune.export import SAMPLES, export
from infoprune.files import write_atomically
from infoprune.recipe.checks import check_kind, check_width
from infoprune.recipe.evidence import first_of
from infoprune.recipe.family import curve_in, reports_in
from infoprune.recipe.task_kinds import KINDS
from infoprune.recipe.tasks import task_of
from infoprune.report.compare import Varied, comparison, rows_of
from infoprune.report.family import page as family_page
from infoprune.report.model import Interval, Report
from infoprune.report.page import PAGE, page, sentence

FOR_PEOPLE = {  # a column's name and how its numbers are written
    "MACs kept": ("MACs kept", "{:.1%}"), "latency_ms": ("latency", "{:.2f} ms"), "speed": ("speed", "{:.2f} times"),
    "accuracy": ("accuracy", "{:.2%}"), "dense accuracy": ("dense", "{:.2%}"), "params": ("parameters", "{:,}"),
}  # fmt: skip


def report_command(arguments: argparse.Namespace) -> Result:
    """The page of a finished run, drawn again from its report.json; of a family's folder that of all members."""
    if members := reports_in(arguments.run_directory):
        return _family_report(arguments, members)
    report = Report.of_run(arguments.run_directory)
    path = arguments.out or arguments.run_directory / PAGE
    write_atomically(path, page(report).encode())
    lines = [
        f"{report.name}: {report.model} on {report.data}",
        f"MACs       {report.before.macs:,} -> {report.after.macs:,} ({report.after.macs / report.before.macs:.1%})",
        f"parameters {report.before.params:,} -> {report.after.params:,}",
        *_qualities(report),
        *([sentence(report)] if report.baselines else []),
        f"page       {path}",
    ]
    return Result("\n".join(lines), json.loads(report.to_json()))


def _family_report(arguments: argparse.Namespace, members: dict[str, Report]) -> Result:
    curve = curve_in(arguments.run_directory, members)
    path = arguments.out or arguments.run_directory / PAGE
    write_atomically(path, family_page(curve).encode())
    rows = [("member", "MACs", "parameters", "accuracy")]
    rows += [(size.name, f"{size.macs:,}", f"{size.params:,}", _share(size.accuracy)) for size in curve.sizes]
    told = {name: json.loads(report.to_json()) for name, report in members.items()}
    return Result(f"{curve.title}\n{as_table(rows)}\npage  {path}", told)


def bench_command(arguments: argparse.Namespace) -> Result:
    """Runs side by side, on the terminal and on one page: finished ones, or those that a recipe varies."""
    varied = _varied(arguments) if [path.suffix for path in arguments.runs] == [".yaml"] else []
    if arguments.set and not varied:
        raise BadRecipe(
            "--set changes a recipe; give one whose vary: says what is compared, or finished runs without it"
        )
    reports = [one.report for one in varied] or [Report.of_run(directory) for directory in arguments.runs]
    write_atomically(arguments.out, comparison(reports, varied).encode())
    rows = rows_of(reports, varied)
    head = tuple(FOR_PEOPLE[name][0] if name in FOR_PEOPLE else name for name in rows[0])
    cells = [head, *(tuple(_shown(name, value) for name, value in row.items()) for row in rows)]
    return Result(f"{as_table(cells)}\npage  {arguments.out}", rows)


def _varied(arguments: argparse.Namespace) -> list[Varied]:
    """Each variant of a recipe carried out, in the folder that a run of it would have."""
    from infoprune.recipe import OnStderr
    from infoprune.recipe.varying import read_variants, run_variants

    (recipe,) = arguments.runs
    return run_variants(read_variants(recipe, arguments.set), default_out(recipe), OnStderr())


def export_command(arguments: argparse.Namespace) -> Result:
    """An artefact as a file for a runtime, compared with the model."""
    place, model, _ = loaded(arguments.artefact, arguments)
    inputs = next((plan.inputs for plan in read_config(place, member=arguments.member).plans if plan.inputs), ())
    if not (inputs and reproducible(inputs)):
        raise InfopruneError(f"{place} does not say what its inputs look like; use infoprune.export from Python")
    samples = _samples(arguments, place, model)
    summary = export(model, probe_inputs(model, inputs), arguments.out, opset=arguments.opset, int8=samples)
    return Result(str(summary), {**asdict(summary), "path": str(summary.path)})


def _samples(arguments: argparse.Namespace, place: Path, model: nn.Module) -> Iterable[Any] | None:
    """The pictures that ranges of int8 are taken from."""
    if arguments.int8 and arguments.data is None:
        raise BadRecipe("--int8 takes ranges from pictures; add --data, a data set's name or a path")
    if arguments.data is not None and not arguments.int8:
        raise BadRecipe("--data is for the ranges of --int8; add that, or leave --data out")
    if not arguments.int8:
        return None
    recipe = for_data(arguments, section_of(place, arguments), "export")
    task = task_of(recipe)
    check_kind(recipe, task)
    check_width(place, model, task)
    return KINDS[task.kind].calibration(first_of(recipe, task, SAMPLES))


def _qualities(report: Report) -> list[str]:
    if not report.after.scores:
        return [f"accuracy   {_share(report.before.accuracy)} -> {_share(report.after.accuracy)}"]
    pairs = zip(report.before.scores, report.after.scores, strict=True)
    return [f"{now.name}  {was.value.value:.4g} -> {now.value.value:.4g} {now.unit}" for was, now in pairs]


def _share(interval: Interval | None) -> str:
    return "not measured" if interval is None else f"{interval.value:.2%} ({interval.ends()})"


def _shown(name: str, value: object) -> str:
    if value is None:
        return "-"
    if name in FOR_PEOPLE:
        return FOR_PEOPLE[name][1].format(value)
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
