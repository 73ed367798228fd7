"""What a finished run found, as a Report."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterable
from dataclasses import replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import torch

from infoprune.artifact import read_config
from infoprune.budgets import Comparison, Counted
from infoprune.finetune import Workers
from infoprune.measure import Measurement, measure
from infoprune.recipe.folder import RECIPE
from infoprune.recipe.running import ARTEFACT, BASELINES
from infoprune.report import page
from infoprune.report.model import FILE, Baseline, Interval, Report, Score, SiteChange, State, Step
from infoprune.timing import LatencyComparison, compare_latency

if TYPE_CHECKING:
    from infoprune.recipe.running import _Run


def report_of(run: _Run) -> Report:
    """Written as report.json and report.html; the one that is there when the run was finished before."""
    if Workers.now().first and not run.folder.has(FILE):
        page.write(_made(run), run.folder.path)
    Workers.now().wait()
    return Report.of_run(run.folder.path)


def _made(run: _Run) -> Report:
    dense, pruned = run.dense().cpu(), run.final().cpu()
    before, after = measure(dense, run.x), measure(pruned, run.x)
    whole = all(cut.kind == "features" for cut in run.cuts)  # what travels is timed by bytes
    timing = run.recipe.report.latency and not whole
    held = _held(run, dense, pruned, timing)
    timed = _timed(held.values()) or (compare_latency(dense, pruned, run.x) if timing else None)
    recipe, told = run.recipe, [run.folder.read_json(f"{cut.name}/told.json") for cut in run.cuts]
    allocation = run.told(run.cuts[-1]).allocation
    artefact = run.folder.path / ARTEFACT
    return Report(
        name=run.folder.path.resolve().name,
        model=recipe.model.name,
        data=recipe.data.name,
        before=_state(run, "dense", before, dense, _latency(timed, "dense")),
        after=_state(run, run.cuts[-1].name, after, pruned, _latency(timed, "pruned")),
        sites=tuple(_sites(run)),
        blocks_removed=tuple(name for cut in run.cuts for name in _blocks(run, cut)),
        steps=tuple(_steps(run)),
        certificate="; ".join(dict.fromkeys(t["certificate"] for t in told)),
        allocation=allocation,
        latency_ratio=None if timed is None else _inverse(timed),
        budgets={words: found.verdict if found else "cannot tell" for words, found in held.items()},
        baselines=tuple(_baselines(run)),
        tuning=_tuning(run),
        seconds=time.perf_counter() - run.started,
        environment=_environment(run),
        recipe=(run.folder.path / RECIPE).read_text(),
        load=f"import infoprune\n\nmodel = {read_config(artefact).architecture.call(artefact)}",
    )


def _held(run: _Run, dense: torch.nn.Module, pruned: torch.nn.Module, timing: bool) -> dict[str, Comparison | None]:
    """Each budget's words, with how the pruned network stands; what would have to be measured is not without timing."""
    wanted = run.recipe.budget.budgets if run.recipe.budget else {}
    sure = {words: timing or isinstance(budget, Counted) for words, budget in wanted.items()}
    return {words: b.compare(dense, pruned, (run.x,)) if sure[words] else None for words, b in wanted.items()}


def _timed(found: Iterable[Comparison | None]) -> LatencyComparison | None:
    return next((one for one in found if isinstance(one, LatencyComparison)), None)


def _bytes(model: torch.nn.Module) -> int:
    return sum(t.numel() * t.element_size() for t in model.state_dict().values())


def _latency(timed: LatencyComparison | None, which: str) -> Interval | None:
    if timed is None:
        return None
    if which == "pruned":
        return Interval(timed.pruned_ms, *timed.pruned_interval_ms)
    low, high = timed.pruned_interval_ms
    spread = timed.dense_ms / timed.pruned_ms
    return Interval(timed.dense_ms, low * spread, high * spread)


def _inverse(timed: LatencyComparison) -> Interval:
    low, high = timed.ratio_interval
    return Interval(1 / timed.ratio, 1 / high, 1 / low)


def _hits(run: _Run, phase: str) -> list[bool]:
    return run.folder.read_json(f"{phase}/hits.json")


def _state(run: _Run, phase: str, counted: Measurement, model: torch.nn.Module, latency: Interval | None) -> State:
    accuracy, scores = None, ()
    if run.task.kind == "labels":
        right = _hits(run, phase)
        accuracy = Interval.of_share(sum(right), len(right))
    else:
        scores = tuple(Score(s.name, s.unit, s.better, s.interval) for s in run.scores(phase))
    return State(counted.params, counted.macs, _bytes(model), latency, accuracy, scores)


def _sites(run: _Run) -> list[SiteChange]:
    """Blocks as they were before the first cut, then what the other plans leave of their sites."""
    gone = {name for cut in run.cuts for name in _blocks(run, cut)}
    found: dict[tuple[str, str], SiteChange] = {}
    for cut in run.cuts:
        told, plan = run.told(cut).sites, run.folder.plan(cut.name)
        edits = [e for e in plan.edits if e.site.kind != "block"] if plan else []
        for site in told or [SiteChange(e.site.name, e.site.kind, e.site.size, e.keeps) for e in edits]:
            if site.kind == "block":
                found.setdefault((site.kind, site.name), replace(site, keeps=int(site.name not in gone)))
            else:
                found[site.kind, site.name] = site
    return list(found.values())


def _blocks(run: _Run, cut: Any) -> list[str]:
    plan = run.folder.plan(cut.name)
    return [edit.site.name for edit in plan.edits if edit.site.kind == "block"] if plan else []


def _steps(run: _Run) -> list[Step]:
    """Images are counted on from stage to stage."""
    found, before = [], 0
    for stage, phase in enumerate(("dense", *(cut.name for cut in run.cuts))):
        images = 0
        for row in run.metrics.of(phase):
            images = row.get("images", images)
            found.append(Step(stage, before + images, row.get("loss"), row.get("accuracy")))
        before += images
    return found


def _baselines(run: _Run) -> list[Baseline]:
    found = []
    for cut in run.cuts:
        if cut.kind != "features" and not run.compared(cut):
            continue
        ours = cut.name if cut.kind == "features" else f"{cut.name}-ours"
        for name in BASELINES:
            found += _compared(run, name, ours, f"{cut.name}-{name}")
    return found


def _compared(run: _Run, name: str, ours: str, theirs: str) -> list[Baseline]:
    if run.task.kind != "labels":
        pairs = zip(run.scores(ours), run.scores(theirs), strict=True)
        return [Baseline(name, b.interval, a.gain_over(b), a.name, a.unit) for a, b in pairs]
    right = _hits(run, theirs)
    return [Baseline(name, Interval.of_share(sum(right), len(right)), Interval.of_paired(_hits(run, ours), right))]


def _tuning(run: _Run) -> str:
    if not any(map(run.compared, run.cuts)):
        return ""
    return f"{run.recipe.report.baseline_epochs:g} epochs of the same tuning each"


def _environment(run: _Run) -> dict[str, str]:
    return {
        **{name: version(name) for name in ("infoprune", "torch", "timm", "torch-pruning")},
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "threads": str(torch.get_num_threads()),
        "device": str(run.device),
        "workers": str(Workers.now().world),
    }
