"""What a sweep at a split found: scores by share and by bytes, and who wins for which weights of the tasks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from statistics import fmean

from infoprune.report import svg
from infoprune.report.html import table
from infoprune.report.model import Report, Sent, Sweep
from infoprune.split import WinnerMap, task_distortion, winner_map

OWN, RIVAL = "information", "l2"  # the paper's pair of figures 7 and 8
Points = list[tuple[float, float]]


def sweep_section(report: Report) -> str:
    """Figures 5, 7 and 8 of the feature selection paper, where the recipe has a sweep."""
    sweep = report.sweep
    if sweep is None or not sweep.sent:
        return ""
    bases = sorted({one.share for one in sweep.sent if one.qp is not None}, reverse=True)
    parts = [_pair(_by_share(sweep, task) for task in sweep.units)]
    parts += [_pair(_by_bytes(sweep, task, base) for task in sweep.units) for base in bases]
    won = {name: contest for name, contest in _maps(sweep, bases).items() if contest is not None}
    parts += [_pair(_triangle(name, contest) for name, contest in won.items()), _shares(won)]
    note = f"On {sweep.pictures} pictures. Information is that about the task whose score is drawn."
    return f'<h2>Rankings beside each other</h2><p class="soft">{note}</p>{"".join(parts)}'


def _pair(pictures: Iterable[str]) -> str:
    return f'<div class="pair">{"".join(pictures)}</div>'


# ------------------------------------------------------------------------------------------------ scores


def _by_share(sweep: Sweep, task: str) -> str:
    """Hard selection at several shares (fig. 5)."""
    whole = _whole(sweep).scores[task]
    curves = {
        name: sorted([(100.0, whole), *((100 * one.share, one.scores[task]) for one in ways if one.qp is None)])
        for name, ways in _rankings(sweep, task).items()
    }
    title = f"{task} by the share of features that travel"
    return svg.lines(curves, title=title, x_name="features, %", y_name=_unit(sweep, task))


def _by_bytes(sweep: Sweep, task: str, base: float) -> str:
    """Soft selection at several qualities, a line an encoder; dots are hard selection at the same share (fig. 7)."""
    curves: dict[str, Points] = {}
    dots: dict[str, Points] = {"all features": [_at(_whole(sweep), task)]}
    for name, ways in _rankings(sweep, task).items():
        if name not in (OWN, RIVAL):
            continue
        here = [one for one in ways if one.share == base]
        for encoder in dict.fromkeys(one.encoder for one in here if one.encoder):
            curves[f"{name}, {encoder}"] = sorted(_at(one, task) for one in here if one.encoder == encoder)
        dots[f"{name}, hard"] = [_at(one, task) for one in here if one.qp is None]
    title = f"{task} by bytes, {base:.0%} as base"
    return svg.lines(curves, dots=dots, title=title, x_name="bytes a picture", y_name=_unit(sweep, task))


def _at(sent: Sent, task: str) -> tuple[float, float]:
    return sent.bytes, sent.scores[task]


def _unit(sweep: Sweep, task: str) -> str:
    return f"{sweep.units[task]} ({sweep.better[task]} is better)"


def _rankings(sweep: Sweep, task: str) -> dict[str, list[Sent]]:
    """Each ranking's ways of sending; of those by information the one about this task, and the one about all."""
    ways: dict[str, list[Sent]] = {}
    for one in sweep.sent:
        if one is _whole(sweep) or (one.task and one.task in sweep.units and one.task != task):
            continue
        name = one.ranking if not one.task or one.task == task else f"{one.ranking}, {one.task}"
        ways.setdefault(name, []).append(one)
    return ways


def _whole(sweep: Sweep) -> Sent:
    """All features as levels."""
    return sweep.sent[0]


# ------------------------------------------------------------------------------------------------ triangles


def _maps(sweep: Sweep, bases: Sequence[float]) -> dict[str, WinnerMap | None]:
    """Information against l2, for hard and for soft selection of the base shares; soft over all qualities (fig. 8)."""
    ways = {"hard": False, "soft": True}
    return {f"{way} {base:.0%}": _map(sweep, base, soft) for way, soft in ways.items() for base in bases}


def _map(sweep: Sweep, base: float, soft: bool) -> WinnerMap | None:
    if len(sweep.units) != 3:
        return None
    distortions = [{task: _distortion(sweep, task, name, base, soft) for task in sweep.units} for name in (OWN, RIVAL)]
    return winner_map(distortions[0], distortions[1], steps=24)


def _distortion(sweep: Sweep, task: str, ranking: str, base: float, soft: bool) -> float:
    here = [one for one in _rankings(sweep, task)[ranking] if one.share == base and (one.qp is not None) == soft]
    return fmean(task_distortion(_whole(sweep).scores[task], one.scores[task]) for one in here)


def _triangle(name: str, contest: WinnerMap) -> str:
    points = [
        ((a, b, c), bool(margin > 0))
        for (a, b, c), margin in zip(contest.weights.tolist(), contest.margin, strict=True)
    ]
    return svg.triangle(points, contest.tasks, title=f"{name}: {OWN} (filled) beats {RIVAL} on {contest.share:.0%}")


def _shares(won: dict[str, WinnerMap]) -> str:
    rows = [(escape(name), f"{contest.share:.1%}") for name, contest in won.items()]
    return table(("selection", f"weights of the tasks for which {OWN} loses less than {RIVAL}"), rows) if rows else ""
