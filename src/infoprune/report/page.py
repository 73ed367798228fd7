"""report.html: what was gained, what it cost and how sure that is, on one page that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path

from infoprune.report import svg
from infoprune.report.model import FILE, Baseline, Interval, Report, SiteChange, State

PAGE = "report.html"
PALE = "(pale before, strong after)"
MOST_SITES = 400  # in pictures: more are thinner than a pixel


def write(report: Report, directory: str | Path) -> Path:
    """Both files of the report; the page's path."""
    place = Path(directory)
    place.mkdir(parents=True, exist_ok=True)
    (place / FILE).write_text(report.to_json())
    (place / PAGE).write_text(page(report))
    return place / PAGE


def page(report: Report) -> str:
    """The whole page."""
    sections = [
        f"<h1>{escape(report.name)}</h1>",
        f'<p class="soft">{escape(report.model)} on {escape(report.data)}, {_duration(report.seconds)}</p>',
        _cards(report),
        _budgets(report),
        _plan(report),
        _training(report),
        _baselines(report),
        _trust(report),
        _block("Load the result", report.load),
        _environment(report),
        _folded("The recipe as it was run", f"<pre>{escape(report.recipe)}</pre>") if report.recipe else "",
    ]
    return document(report.name, "\n".join(s for s in sections if s))


def document(title: str, body: str) -> str:
    style = files("infoprune.report").joinpath("style.css").read_text()
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


# ------------------------------------------------------------------------------------------------ before and after


def _cards(report: Report) -> str:
    before, after = report.before, report.after
    cards = [
        _kept("MACs", before.macs, after.macs),
        _kept("parameters", before.params, after.params),
        _kept("bytes on disk", before.bytes, after.bytes),
        _latency(report),
        _accuracy(before, after),
    ]
    return f'<div class="cards">{"".join(cards)}</div>'


def card(title: str, value: str, told: str, kind: str = "") -> str:
    return f'<div class="card"><span>{title}</span><b class="{kind}">{value}</b><span>{told}</span></div>'


def _kept(title: str, before: int, after: int) -> str:
    share = after / before if before else 1.0
    return card(f"{title} kept", f"{share:.1%}", f"{svg.number(before)} to {svg.number(after)}")


def _latency(report: Report) -> str:
    ratio, before, after = report.latency_ratio, report.before.latency_ms, report.after.latency_ms
    if ratio is None:
        return card("latency", "not timed", "")
    verdict, kind = ("faster", "good") if ratio.low > 1 else ("slower", "bad") if ratio.high < 1 else ("", "doubt")
    told = f"{verdict or 'no difference shown'}: {_range(ratio, '.2f')} times"
    if before and after:
        told += f"; {before.value:.3g} to {after.value:.3g} ms"
    return card("speed", f"{ratio.value:.2f}×", told, kind)


def _accuracy(before: State, after: State) -> str:
    if before.accuracy is None or after.accuracy is None:
        return card("accuracy", "not measured", "")
    change = 100 * (after.accuracy.value - before.accuracy.value)
    told = f"was {before.accuracy.value:.2%} ({change:+.2f} points); 95 % interval {_range(after.accuracy, '.1%')}"
    return card("accuracy", f"{after.accuracy.value:.2%}", told)


def _range(interval: Interval, style: str) -> str:
    return f"{interval.low:{style}} to {interval.high:{style}}"


def _budgets(report: Report) -> str:
    kinds = {"met": "good", "not met": "bad", "cannot tell": "doubt"}
    told = [f'{escape(unit)} <b class="{kinds[v]}">{v}</b>' for unit, v in report.budgets.items()]
    return f"<p>Budgets: {', '.join(told)}.</p>" if told else ""


# -------------------------------------------------------------------------------------------------------- the plan


def _plan(report: Report) -> str:
    if not report.sites and not report.blocks_removed:
        return "<h2>What went</h2><p>Nothing was removed.</p>"
    pictures = [*_widths(report.sites), *_shares(report.sites), *_weights(report.sites)]
    removed = ", ".join(map(escape, report.blocks_removed))
    blocks = f"<p>Blocks removed: {removed}.</p>" if removed else ""
    table = _folded(f"All {len(report.sites)} sites", _sites(report.sites)) if report.sites else ""
    return f'<h2>What went</h2>{blocks}<div class="pair">{"".join(pictures)}</div>{table}'


def _widths(sites: Sequence[SiteChange]) -> list[str]:
    shown = sites[:MOST_SITES]
    if not shown:
        return []
    names, sizes, keeps = [s.name for s in shown], [s.size for s in shown], [s.keeps for s in shown]
    return [svg.paired_bars(names, sizes, keeps, title=f"Units at each site {PALE}", y_name="units")]


def _shares(sites: Sequence[SiteChange]) -> list[str]:
    known = [s for s in sites[:MOST_SITES] if s.macs_share_before is not None and s.macs_share_after is not None]
    if not known:
        return []
    before, after = [s.macs_share_before or 0.0 for s in known], [s.macs_share_after or 0.0 for s in known]
    names = [s.name for s in known]
    title = f"Share of the MACs {PALE}"
    return [svg.paired_bars(names, before, after, title=title, y_name="share", shown=svg.percent)]


def _weights(sites: Sequence[SiteChange]) -> list[str]:
    known = [(s.name, s.weight) for s in sites[:MOST_SITES] if s.weight is not None]
    if not known:
        return []
    names, weights = zip(*known, strict=True)
    title = "Weight of each site, with its 95 % interval"
    return [svg.intervals(names, weights, title=title, y_name="weight")]


def _sites(sites: Iterable[SiteChange]) -> str:
    rows = [
        (escape(s.name), escape(s.kind), f"{s.size:,}", f"{s.keeps:,}", f"{s.keeps / s.size:.0%}",
         f'<span class="track"><i style="width:{100 * s.keeps / s.size:.1f}%"></i></span>')
        for s in sites
    ]  # fmt: skip
    return table(("site", "kind", "was", "stays", "keep", ""), rows)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells are HTML."""
    top = "".join(f"<th>{cell}</th>" for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


# -------------------------------------------------------------------------------------------- training, baselines


def _training(report: Report) -> str:
    losses = [(float(s.images), s.loss) for s in report.steps if s.loss is not None]
    scores = [(float(s.images), s.accuracy) for s in report.steps if s.accuracy is not None]
    breaks = [float(b.images) for a, b in zip(report.steps, report.steps[1:], strict=False) if b.stage != a.stage]
    pictures = []
    if len(losses) > 1:
        pictures.append(svg.curve(losses, breaks, title="Training loss", x_name="images", y_name="loss"))
    if len(scores) > 1:
        pictures.append(
            svg.curve(scores, breaks, title="Held-out accuracy", x_name="images", y_name="accuracy", shown=svg.percent)
        )
    told = '<p class="soft">Dashed lines are prunings.</p>' if breaks else ""
    return f'<h2>Training</h2><div class="pair">{"".join(pictures)}</div>{told}' if pictures else ""


def _baselines(report: Report) -> str:
    if not report.baselines:
        return ""
    rows = [(escape(b.name), f"{b.accuracy.value:.2%}", _range(b.accuracy, ".1%"), _gain(b)) for b in report.baselines]
    head = ("importance, same widths", "accuracy", "95 % interval", "ours is better by")
    return f"<h2>Against simpler choices</h2>{table(head, rows)}<p>{sentence(report)}</p>"


def _gain(baseline: Baseline) -> str:
    gain = baseline.gain
    kind = "good" if gain.low > 0 else "bad" if gain.high < 0 else "doubt"
    return (
        f'<span class="{kind}">{100 * gain.value:+.2f} points ({100 * gain.low:+.2f} to {100 * gain.high:+.2f})</span>'
    )


def sentence(report: Report) -> str:
    """What the comparison shows, in words that it supports."""
    beaten = [b.name for b in report.baselines if b.gain.low > 0]
    lost = [b.name for b in report.baselines if b.gain.high < 0]
    open_ = [b.name for b in report.baselines if b.name not in (*beaten, *lost)]
    told = [f"Better than {_listed(beaten)}."] if beaten else []
    told += [f"Worse than {_listed(lost)}."] if lost else []
    told += [f"There is no evidence of a gain over {_listed(open_)}."] if open_ else []
    after = f"All after the same tuning: {report.tuning}." if report.tuning else ""
    return escape(" ".join([*told, after]).strip())


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


# ------------------------------------------------------------------------------------------------------ the rest


def _trust(report: Report) -> str:
    lines = [f"<p>Certificate: {escape(report.certificate)}.</p>"] if report.certificate else []
    if report.allocation is not None:
        gap, moved = report.allocation.gap, report.allocation.moved
        lines.append(f"<p>The widths are worth at least {1 - gap:.2%} of the best that the budgets allow.</p>")
        if moved is not None:
            still = " The weights did not change the answer." if moved == 0 else ""
            lines.append(f"<p>They moved by {moved:.1%} from those of uniform weights.{still}</p>")
    return f"<h2>How sure that is</h2>{''.join(lines)}" if lines else ""


def _environment(report: Report) -> str:
    rows = [(escape(name), escape(value)) for name, value in report.environment.items()]
    return _folded("Environment", table(("", ""), rows)) if rows else ""


def _block(title: str, code: str) -> str:
    return f"<h2>{title}</h2><pre>{escape(code.strip())}</pre>" if code else ""


def _folded(title: str, body: str) -> str:
    return f"<details><summary>{escape(title)}</summary>{body}</details>"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
