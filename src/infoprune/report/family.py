"""Many sizes of one network on one page: what each costs and how well it does, as a curve and as a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from torch import nn

from infoprune.family import Family
from infoprune.files import write_atomically
from infoprune.measure import Measurement, measure
from infoprune.report import svg
from infoprune.report.html import code, document, table
from infoprune.report.model import Interval, Report
from infoprune.timing import compare_latency

PAGE = "report.html"
DENSE = "dense"


@dataclass(frozen=True)
class Size:
    """One network of a curve.

    `latency` is its share of the dense network's, timed beside it, and `off` its outputs' squared error over their
    variance on held-out samples.
    """

    name: str
    macs: int
    params: int
    latency: Interval | None = None
    accuracy: Interval | None = None
    off: float | None = None


@dataclass(frozen=True)
class Curve:
    """The dense network and what became of it, largest first; `load` are the lines that bring a member back."""

    title: str
    sizes: tuple[Size, ...]
    load: str = ""


def curve_of(
    family: Family,
    dense: nn.Module,
    example_inputs: Any,
    *,
    accuracy: Callable[[nn.Module], Interval] | None = None,
    latency: bool = True,
    title: str = "a family",
) -> Curve:
    """What `dense` and every member cost for these inputs, and how well they do.

    Args:
        family: The members.
        dense: The network that they were made of.
        example_inputs: What networks are counted and timed on.
        accuracy: Judges a network; without it the curve has costs alone.
        latency: Time members beside the dense network, in turn.
        title: Of the page.
    """
    sizes = [_whole(measure(dense, example_inputs), accuracy and accuracy(dense), timed=latency)]
    for member in family:
        timed = compare_latency(dense, member.model, example_inputs) if latency else None
        cost, steps = measure(member.model, example_inputs), member.compensations
        share = None if timed is None else Interval(timed.ratio, *timed.ratio_interval)
        off = min(steps[-1].outputs.values()) if steps else None
        sizes.append(Size(member.name, cost.macs, cost.params, share, accuracy and accuracy(member.model), off))
    return Curve(title, tuple(sizes))


def _whole(cost: Measurement, accuracy: Interval | None, *, timed: bool) -> Size:
    return Size(DENSE, cost.macs, cost.params, Interval(1.0, 1.0, 1.0) if timed else None, accuracy, 0.0)


def curve_of_runs(title: str, reports: Mapping[str, Report], artefact: str) -> Curve:
    """What a recipe's members reached, each in a run of its own."""
    sizes = [_before(next(iter(reports.values()))), *(_after(name, report) for name, report in reports.items())]
    load = f'import infoprune\n\nmodel = infoprune.load("{artefact}", member="{sizes[-1].name}")'
    return Curve(title, tuple(sizes), load)


def _before(report: Report) -> Size:
    whole, timed = report.before, report.latency_ratio
    return Size(DENSE, whole.macs, whole.params, timed and Interval(1.0, 1.0, 1.0), whole.accuracy)


def _after(name: str, report: Report) -> Size:
    left, timed = report.after, report.latency_ratio
    share = timed and Interval(1 / timed.value, 1 / timed.high, 1 / timed.low)
    return Size(name, left.macs, left.params, share, left.accuracy)


def write(curve: Curve, directory: str | Path) -> Path:
    """report.html in the directory; its path."""
    place = Path(directory)
    place.mkdir(parents=True, exist_ok=True)
    write_atomically(place / PAGE, page(curve).encode())
    return place / PAGE


def page(curve: Curve) -> str:
    """The whole page."""
    smallest, dense = curve.sizes[-1], curve.sizes[0]
    summary = f"{len(curve.sizes) - 1} networks inside each other, down to {smallest.macs / dense.macs:.1%} of the MACs"
    pictures = [
        _picture(curve, "MACs", lambda size: float(size.macs), svg.number),
        _picture(curve, "latency, as a share of the dense network's", _latency, svg.percent),
    ]
    body = [
        f"<h1>{escape(curve.title)}</h1>",
        f'<p class="soft">{summary}</p>',
        f'<div class="pair">{"".join(pictures)}</div>',
        f"<h2>All members</h2>{_table(curve)}",
        code("Load a member", curve.load),
    ]
    return document(curve.title, "\n".join(part for part in body if part))


def _latency(size: Size) -> float | None:
    return None if size.latency is None else size.latency.value


def _picture(curve: Curve, name: str, cost: Callable[[Size], float | None], shown: Callable[[float], str]) -> str:
    """Accuracy against a cost, or else how far outputs are off."""
    known = [(size, spent) for size in curve.sizes if (spent := cost(size)) is not None]
    judged: list[tuple[str, float, Interval, str]] = [
        (size.name, spent, size.accuracy, "before" if size.name == DENSE else "after")
        for size, spent in known
        if size.accuracy is not None
    ]
    if len(judged) > 1:
        title = f"Accuracy against {name.partition(',')[0]}"
        return svg.scatter(judged, title=title, x_name=name, y_name="accuracy", x_text=shown)
    off = [(spent, size.off) for size, spent in known if size.off is not None]
    if len(off) < 2:
        return ""
    title, y_name = f"Error of the outputs against {name.partition(',')[0]}", "error / variance"
    return svg.curve(sorted(off), (), title=title, x_name=name, y_name=y_name)


def _table(curve: Curve) -> str:
    dense = curve.sizes[0]
    columns: list[tuple[str, Callable[[Size], str | None]]] = [
        ("member", lambda s: escape(s.name)),
        ("MACs kept", lambda s: f"{s.macs / dense.macs:.1%}"),
        ("MACs", lambda s: svg.number(s.macs)),
        ("parameters", lambda s: svg.number(s.params)),
        ("latency kept", lambda s: s.latency and f"{s.latency.value:.1%}"),
        ("99.5 % interval", lambda s: s.latency and s.latency.ends()),
        ("accuracy", lambda s: s.accuracy and f"{s.accuracy.value:.2%}"),
        ("95 % interval", lambda s: s.accuracy and s.accuracy.ends()),
        ("outputs off by", lambda s: None if s.off is None else f"{s.off:.3g}"),
    ]
    shown = [(head, cell) for head, cell in columns if any(cell(size) for size in curve.sizes)]
    return table([head for head, _ in shown], [[cell(size) or "–" for _, cell in shown] for size in curve.sizes])
