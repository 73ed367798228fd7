"""What a finished run found, as a Report."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from importlib.metadata import version

import torch
from torch import nn

from infoprune.artifact import read_config
from infoprune.budgets import Comparison, Counted
from infoprune.finetune import Processes
from infoprune.finetune.number_format import layout_for, precision_on
from infoprune.measure import Measurement, measure
from infoprune.recipe.cuts import Cut
from infoprune.recipe.folder import RECIPE
from infoprune.recipe.quality import Quality
from infoprune.recipe.results import Results
from infoprune.recipe.sections import epochs
from infoprune.recipe.sweeping import sweep_of
from infoprune.report import page
from infoprune.report.model import (
    FILE,
    Baseline,
    Interval,
    Moment,
    Recovery,
    Report,
    Score,
    SiteChange,
    State,
    Step,
    Sweep,
)
from infoprune.timing import LatencyComparison, compare_latency

ARTEFACT = "artefact"
SURGERY, COMPENSATED, MATCHED = "surgery", "compensated", "matched"  # phases of a cut that are judged and not trained
UNDONE = "undone"  # the phase of a tuning that made the network worse


def report_of(run: Results, started: float) -> Report:
    """Written as report.json and report.html; the one that is there when the run was finished before."""
    if Processes.now().first and not run.folder.has(FILE):
        page.write(_report_of(run, started), run.folder.path)
    Processes.now().wait()
    return Report.of_run(run.folder.path)


def _report_of(run: Results, started: float) -> Report:
    dense, pruned = run.dense().cpu(), run.final().cpu()
    before, after, last = measure(dense, run.x), measure(pruned, run.x), run.cuts[-1]
    timing = run.recipe.report.latency and any(cut.timed for cut in run.cuts)
    held = _held(run, dense, pruned, timing)
    timed = _timed(held.values()) or (compare_latency(dense, pruned, run.x) if timing else None)
    artefact = run.folder.path / ARTEFACT
    return Report(
        name=run.folder.path.resolve().name,
        model=run.recipe.model.name,
        data=run.recipe.data.name,
        before=_state(run, "dense", before, dense, _latency(timed, "dense")),
        after=_state(run, last.name, after, pruned, _latency(timed, "pruned")),
        sites=tuple(_sites(run)),
        blocks_removed=tuple(name for cut in run.cuts for name in _blocks(run, cut)),
        steps=tuple(_steps(run)),
        recoveries=tuple(_recoveries(run)),
        norms=_norms(run),
        certificate="; ".join(dict.fromkeys(run.certificates())),
        allocation=run.decision(last).allocation,
        latency_ratio=None if timed is None else _inverse(timed),
        budgets={words: comparison.verdict if comparison else "cannot tell" for words, comparison in held.items()},
        baselines=tuple(_baselines(run)),
        ours=tuple(_ours(run)),
        sweep=_sweep(run),
        tuning=_tuning(run),
        seconds=time.perf_counter() - started,
        environment=_environment(run, pruned),
        recipe=(run.folder.path / RECIPE).read_text(),
        load=f"import infoprune\n\nmodel = {read_config(artefact).architecture.call(artefact)}",
    )


def _held(run: Results, dense: nn.Module, pruned: nn.Module, timing: bool) -> dict[str, Comparison | None]:
    """Each budget's words, with how the pruned network stands; what would have to be measured is not without timing."""
    wanted = run.recipe.budget.budgets if run.recipe.budget else {}
    sure = {words: timing or isinstance(budget, Counted) for words, budget in wanted.items()}
    return {words: b.compare(dense, pruned, (run.x,)) if sure[words] else None for words, b in wanted.items()}


def _timed(comparisons: Iterable[Comparison | None]) -> LatencyComparison | None:
    return next((one for one in comparisons if isinstance(one, LatencyComparison)), None)


def _bytes(model: nn.Module) -> int:
    return sum(t.numel() * t.element_size() for t in model.state_dict().values())


def _latency(timed: LatencyComparison | None, which: str) -> Interval | None:
    if timed is None:
        return None
    if which == "pruned":
        return Interval(timed.pruned_ms, *timed.pruned_interval_ms)
    low, high = timed.pruned_interval_ms
    return Interval(timed.dense_beside_ms, low / timed.ratio, high / timed.ratio)


def _inverse(timed: LatencyComparison) -> Interval:
    low, high = timed.ratio_interval
    return Interval(1 / timed.ratio, 1 / high, 1 / low)


def _state(run: Results, phase: str, counted: Measurement, model: nn.Module, latency: Interval | None) -> State:
    quality = run.quality(phase)
    return State(counted.params, counted.macs, _bytes(model), latency, quality.accuracy, quality.scores)


def _sites(run: Results) -> list[SiteChange]:
    """Blocks as they were before the first cut, then what the other plans leave of their sites."""
    gone = {name for cut in run.cuts for name in _blocks(run, cut)}
    changes: dict[tuple[str, str], SiteChange] = {}
    for cut in run.cuts:
        sites, plan = run.decision(cut).sites, run.folder.plan(cut.name)
        edits = [e for e in plan.edits if e.site.kind != "block"] if plan else []
        for site in sites or [SiteChange(e.site.name, e.site.kind, e.site.size, e.keeps) for e in edits]:
            if site.kind == "block":
                changes.setdefault((site.kind, site.name), replace(site, keeps=int(site.name not in gone)))
            else:
                changes[site.kind, site.name] = site
    return list(changes.values())


def _blocks(run: Results, cut: Cut) -> list[str]:
    plan = run.folder.plan(cut.name)
    return [edit.site.name for edit in plan.edits if edit.site.kind == "block"] if plan else []


def _steps(run: Results) -> list[Step]:
    """Images are counted on from stage to stage."""
    steps, before = [], 0
    for stage, phase in enumerate(("dense", *(cut.name for cut in run.cuts))):
        images = 0
        for row in run.metrics.of(phase):
            images = row.get("images", images)
            steps.append(Step(stage, before + images, row.get("loss"), row.get("accuracy")))
        before += images
    return steps


def _recoveries(run: Results) -> Iterator[Recovery]:
    for cut in run.cuts:
        done = run.compensation(cut.name)
        if done is not None:
            phases = {SURGERY: f"{cut.name}-{SURGERY}", "compensation": f"{cut.name}-{COMPENSATED}"}
            phases |= {"matching": f"{cut.name}-{MATCHED}"} if run.recipe.match is not None else {}
            undone = run.judged(f"{cut.name}-{UNDONE}")
            phases |= {"tuning": f"{cut.name}-{UNDONE}" if undone else cut.name}
            moments = [_moment(f"after {what}", run.quality(phase)) for what, phase in phases.items()]
            yield Recovery(cut.name, tuple(moments), done, undone)


def _moment(name: str, quality: Quality) -> Moment:
    return Moment(name, quality.accuracy, quality.scores)


def _norms(run: Results) -> str:
    """What was found of them, if anything was asked."""
    domain = run.domain()
    return "" if domain.agreement is None else str(domain)


def _baselines(run: Results) -> list[Baseline]:
    """How much better every compared cut is than its rivals."""
    return [
        baseline
        for cut in run.cuts
        for rival in cut.rivals
        for baseline in run.quality(cut.ours).against(rival, run.quality(cut.phase_of(rival)))
    ]


def _ours(run: Results) -> list[Score]:
    """What every compared cut itself reaches after the tuning of its rivals."""
    scores = []
    for cut in run.cuts:
        quality = run.quality(cut.ours) if cut.rivals else None
        if quality is not None and quality.accuracy is not None:
            scores.append(Score("accuracy", "", "higher", quality.accuracy))
        scores.extend(quality.scores if quality is not None else ())
    return scores


def _sweep(run: Results) -> Sweep | None:
    sweep = run.recipe.sweep
    return (
        None if sweep is None else sweep_of(run.sent(), run.task.classes, min(sweep.pictures, len(run.task.held_out)))
    )


def _tuning(run: Results) -> str:
    count = max(cut.epochs for cut in run.cuts)
    return f"{epochs(count)} of the same tuning each" if count else ""


def _environment(run: Results, pruned: nn.Module) -> dict[str, str]:
    tuning = run.recipe.finetune
    return {
        **{name: version(name) for name in ("infoprune", "torch", "timm", "torch-pruning")},
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "threads": str(torch.get_num_threads()),
        "device": str(run.device),
        "workers": str(Processes.now().world),
        "precision": str(precision_on(run.device, tuning.precision)),
        "memory format": str(layout_for(pruned, run.device, tuning.channels_last)),
    }
