"""Several runs on one page: accuracy against MACs and against latency, and who is beaten by nobody."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from statistics import fmean, pvariance
from typing import Any

from infoprune.errors import UnusableData
from infoprune.report import svg
from infoprune.report.html import document, table
from infoprune.report.model import Interval, Report, State


@dataclass(frozen=True)
class Varied:
    """A run in which `key` had `value`, all else being as in its siblings."""

    key: str
    value: Any
    report: Report

    @property
    def spread(self) -> float | None:
        """The variance of the layers' weights over the square of their mean, which no scale changes."""
        weights = [site.weight.value for site in self.report.sites if site.weight is not None]
        return pvariance(weights) / fmean(weights) ** 2 if any(weights) else None


def comparison(reports: Sequence[Report], varied: Sequence[Varied] = ()) -> str:
    """The page for these runs; the dense models that they began with are in it. What was `varied` is drawn by key."""
    if not reports:
        raise UnusableData("there is nothing to compare; give the directories of finished runs")
    ends = _ends(reports)
    pictures = [
        _picture(ends, "MACs", lambda s: float(s.macs)),
        _picture(ends, "latency in ms", lambda s: s.latency_ms.value if s.latency_ms else None),
    ]
    sections = "".join(
        _by_key(key, [v for v in varied if v.key == key]) for key in dict.fromkeys(v.key for v in varied)
    )
    sections += f'<div class="pair">{"".join(pictures)}</div>{_table(reports)}{_caveat(reports)}'
    body = f"<h1>{len(reports)} runs</h1>{sections}"
    return document(f"{len(reports)} runs", body)


def _by_key(key: str, runs: Sequence[Varied]) -> str:
    """Accuracy and the spread of the layers' weights against what was varied."""
    names = [f"{key} = {run.value}" for run in runs]
    reached = [(name, r.report.after.accuracy) for name, r in zip(names, runs, strict=True) if r.report.after.accuracy]
    spread = [(name, run.spread) for name, run in zip(names, runs, strict=True) if run.spread is not None]
    pictures, x_name = [], f"{key}: {', '.join(str(run.value) for run in runs)}"
    if len(reached) > 1:
        known, values = zip(*reached, strict=True)
        pictures.append(svg.intervals(known, values, title="Accuracy", x_name=x_name, y_name="accuracy"))
    if len(spread) > 1:
        known, values = zip(*((name, Interval(value, value, value)) for name, value in spread), strict=True)
        title = "Relative variance of the layers' weights"
        pictures.append(svg.intervals(known, values, title=title, x_name=x_name, y_name="variance / mean²"))
    return f'<h2>{escape(key)}</h2><div class="pair">{"".join(pictures)}</div>' if pictures else ""


def rows_of(reports: Sequence[Report], varied: Sequence[Varied] = ()) -> list[dict[str, object]]:
    """One row a run, for the terminal and for JSON."""
    spreads = {id(run.report): {"weights' variance": run.spread} for run in varied}
    return [
        {
            "run": r.name,
            "MACs": r.after.macs,
            "MACs kept": r.after.macs / r.before.macs,
            "params": r.after.params,
            "latency_ms": r.after.latency_ms.value if r.after.latency_ms else None,
            "speed": r.latency_ratio.value if r.latency_ratio else None,
            "accuracy": r.after.accuracy.value if r.after.accuracy else None,
            "dense accuracy": r.before.accuracy.value if r.before.accuracy else None,
            "beaten by": _beaten_by(r, reports),
            **spreads.get(id(r), {}),
        }
        for r in reports
    ]


def _beaten_by(report: Report, reports: Sequence[Report]) -> str | None:
    """The first run with no more MACs whose accuracy is higher beyond both intervals."""
    mine = report.after.accuracy
    for other in reports:
        theirs = other.after.accuracy
        if mine and theirs and other.after.macs <= report.after.macs and theirs.low > mine.high:
            return other.name
    return None


def _ends(reports: Sequence[Report]) -> list[tuple[str, State, str]]:
    dense = {(r.model, r.before.macs): (f"{r.model}, dense", r.before, "before") for r in reports}
    return [*dense.values(), *((r.name, r.after, "after") for r in reports)]


def _picture(ends: Sequence[tuple[str, State, str]], name: str, cost: Callable[[State], float | None]) -> str:
    points: list[tuple[str, float, Interval, str]] = [
        (label, spent, state.accuracy, kind)
        for label, state, kind in ends
        if state.accuracy is not None and (spent := cost(state)) is not None
    ]
    if len(points) < 2:
        return ""
    title = f"Accuracy against {name}"
    return svg.scatter(points, title=title, x_name=name, y_name="accuracy", x_text=svg.number)


def _table(reports: Sequence[Report]) -> str:
    head = ("run", "MACs kept", "MACs", "parameters", "speed", "accuracy", "95 % interval", "beaten by")
    rows = [
        (
            escape(r.name),
            f"{r.after.macs / r.before.macs:.1%}",
            svg.number(r.after.macs),
            svg.number(r.after.params),
            f"{r.latency_ratio.value:.2f}×" if r.latency_ratio else "–",
            f"{r.after.accuracy.value:.2%}" if r.after.accuracy else "–",
            r.after.accuracy.ends() if r.after.accuracy else "–",
            escape(_beaten_by(r, reports) or "nobody"),
        )
        for r in reports
    ]
    return f"<h2>All runs</h2>{table(head, rows)}"


def _caveat(reports: Sequence[Report]) -> str:
    text = "A run is beaten where another one has no more MACs and its interval of accuracy lies wholly above."
    places = {r.environment.get("processor", "") for r in reports}
    if len(places) > 1:
        text += " The runs were timed on different machines, so that their latencies can't be compared."
    if len({r.data for r in reports}) > 1:
        text += " The runs are on different data, so that their accuracies can't be compared."
    return f'<p class="soft">{text}</p>'
