"""report.html: what was gained, what it cost and how sure that is, on one page that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from infoprune.files import write_atomically
from infoprune.report import svg
from infoprune.report.html import card, code, document, folded, table
from infoprune.report.model import FILE, Baseline, Interval, Report, Score, SiteChange, State
from infoprune.report.recovery import way_back
from infoprune.report.swept import sweep_section

PAGE = "report.html"
PALE = "(pale before, strong after)"
WEIGHTS = "Weight, site by site, with its 95 % interval"
KNOWN = "Energy dependence on the labels, block by block, with its 95 % interval"
MOST_SITES = 400  # in pictures: more are thinner than a pixel


def write(report: Report, directory: str | Path) -> Path:
    """Both files of the report; the page's path."""
    place = Path(directory)
    place.mkdir(parents=True, exist_ok=True)
    write_atomically(place / PAGE, page(report).encode())
    write_atomically(place / FILE, report.to_json().encode())  # last: the report is done once this is there
    return place / PAGE


def page(report: Report) -> str:
    """The whole page."""
    sections = [
        f"<h1>{escape(report.name)}</h1>",
        f'<p class="soft">{escape(report.model)} on {escape(report.data)}, {_duration(report.seconds)}</p>',
        _cards(report),
        _budgets(report),
        _plan(report),
        way_back(report),
        _training(report),
        _baselines(report),
        sweep_section(report),
        _trust(report),
        code("Load the result", report.load),
        _environment(report),
        folded("The recipe as it was run", f"<pre>{escape(report.recipe)}</pre>") if report.recipe else "",
    ]
    return document(report.name, "\n".join(s for s in sections if s))


# ------------------------------------------------------------------------------------------------ before and after


def _cards(report: Report) -> str:
    before, after = report.before, report.after
    size = [
        _kept("MACs", before.macs, after.macs),
        _kept("parameters", before.params, after.params),
        _kept("bytes on disk", before.bytes, after.bytes),
        _latency(report),
    ]
    same = (before.macs, before.params) == (after.macs, after.params)  # a split network stays whole
    cards = [*([] if same and after.scores else size), *_quality(before, after)]
    return f'<div class="cards">{"".join(cards)}</div>'


def _kept(title: str, before: int, after: int) -> str:
    share = after / before if before else 1.0
    return card(f"{title} kept", f"{share:.1%}", f"{svg.number(before)} to {svg.number(after)}")


def _latency(report: Report) -> str:
    ratio, before, after = report.latency_ratio, report.before.latency_ms, report.after.latency_ms
    if ratio is None:
        return card("latency", "not timed", "")
    verdict, kind = ("faster", "good") if ratio.low > 1 else ("slower", "bad") if ratio.high < 1 else ("", "doubt")
    note = f"{verdict or 'no difference shown'}: {ratio.ends('.2f')} times"
    if before and after:
        note += f"; {before.value:.3g} to {after.value:.3g} ms"
    return card("speed", f"{ratio.value:.2f}×", note, kind)


def _quality(before: State, after: State) -> list[str]:
    if not after.scores:
        return [_accuracy(before, after)]
    return [_score(was, now) for was, now in zip(before.scores, after.scores, strict=True)]


def _score(was: Score, now: Score) -> str:
    note = f"{now.unit}, was {svg.number(was.value.value)}; 95 % interval {_numbers(now.value)}"
    return card(escape(now.name), svg.number(now.value.value), f"{escape(note)} ({now.better} is better)")


def _numbers(interval: Interval) -> str:
    return f"{svg.number(interval.low)} to {svg.number(interval.high)}"


def _accuracy(before: State, after: State) -> str:
    if before.accuracy is None or after.accuracy is None:
        return card("accuracy", "not measured", "")
    change = 100 * (after.accuracy.value - before.accuracy.value)
    note = f"was {before.accuracy.value:.2%} ({change:+.2f} points); 95 % interval {after.accuracy.ends()}"
    return card("accuracy", f"{after.accuracy.value:.2%}", note)


def _budgets(report: Report) -> str:
    kinds = {"met": "good", "not met": "bad", "cannot tell": "doubt"}
    verdicts = [f'{escape(unit)} <b class="{kinds[v]}">{v}</b>' for unit, v in report.budgets.items()]
    return f"<p>Budgets: {', '.join(verdicts)}.</p>" if verdicts else ""


# -------------------------------------------------------------------------------------------------------- the plan


def _plan(report: Report) -> str:
    if not report.sites and not report.blocks_removed:
        return "<h2>What went</h2><p>Nothing was removed.</p>"
    blocks, units = _by_kind(report.sites)
    pictures = [*_strip(blocks), *_weights(blocks, KNOWN), *_widths(units), *_shares(units), *_weights(units, WEIGHTS)]
    removed = ", ".join(map(escape, report.blocks_removed))
    text = f"<p>Blocks removed: {removed}.</p>" if removed else ""
    text += "".join(_travelling(s) for s in units if s.kind == "features")
    table = folded(f"All {len(report.sites)} sites", _sites(report.sites)) if len(report.sites) > 1 else ""
    return f'<h2>What went</h2>{text}<div class="pair">{"".join(pictures)}</div>{table}'


def _by_kind(sites: Sequence[SiteChange]) -> tuple[list[SiteChange], list[SiteChange]]:
    return [s for s in sites if s.kind == "block"], [s for s in sites if s.kind != "block"]


def _travelling(site: SiteChange) -> str:
    return f"<p>{site.keeps} of the {site.size} features of {escape(site.name)} travel.</p>"


def _strip(blocks: Sequence[SiteChange]) -> list[str]:
    if not blocks:
        return []
    title = f"{sum(s.keeps for s in blocks)} of {len(blocks)} blocks stay (filled)"
    return [svg.strip([s.name for s in blocks], [bool(s.keeps) for s in blocks], title=title)]


def _widths(sites: Sequence[SiteChange]) -> list[str]:
    shown = sites[:MOST_SITES]
    if len(shown) < 2:
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


def _weights(sites: Sequence[SiteChange], title: str) -> list[str]:
    known = [(s.name, s.weight) for s in sites[:MOST_SITES] if s.weight is not None]
    if not known:
        return []
    names, weights = zip(*known, strict=True)
    x_name = f"{'blocks' if sites[0].kind == 'block' else 'sites'} in order"
    return [svg.intervals(names, weights, title=title, x_name=x_name, y_name=title.split(",")[0].lower())]


def _sites(sites: Iterable[SiteChange]) -> str:
    rows = [
        (escape(s.name), escape(s.kind), f"{s.size:,}", f"{s.keeps:,}", f"{s.keeps / s.size:.0%}",
         f'<span class="track"><i style="width:{100 * s.keeps / s.size:.1f}%"></i></span>')
        for s in sites
    ]  # fmt: skip
    return table(("site", "kind", "was", "stays", "keep", ""), rows)


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
            svg.curve(
                scores,
                breaks,
                title="Held-out accuracy",
                x_name="images",
                y_name="accuracy",
                shown=svg.percent,
                within=report.after.accuracy,
            )
        )
    note = '<p class="soft">Dashed lines are prunings.</p>' if breaks else ""
    return f'<h2>Training</h2><div class="pair">{"".join(pictures)}</div>{note}' if pictures else ""


def _baselines(report: Report) -> str:
    if not report.baselines:
        return ""
    rows = [
        (f"ours{f' in {escape(s.name)}' if s.unit else ''}", *_value_and_interval(s.value, s.unit), "")
        for s in report.ours
    ]
    rows += [(escape(b.label), *_value_and_interval(b.accuracy, b.unit), _gain(b)) for b in report.baselines]
    alike, reached = ("same count", "score") if report.after.scores else ("same widths", "accuracy")
    head = (f"importance, {alike}", reached, "95 % interval", "ours is better by")
    return f"<h2>Against simpler choices</h2>{table(head, rows)}<p>{sentence(report)}</p>"


def _value_and_interval(reached: Interval, unit: str) -> tuple[str, str]:
    """A share of the pictures, or a score in its unit, with its interval."""
    if not unit:
        return f"{reached.value:.2%}", reached.ends()
    return f"{svg.number(reached.value)} {escape(unit)}", _numbers(reached)


def _gain(baseline: Baseline) -> str:
    gain = baseline.gain
    kind = "good" if gain.low > 0 else "bad" if gain.high < 0 else "doubt"
    return f'<span class="{kind}">{escape(gained(baseline))} ({_ends(baseline)})</span>'


def gained(baseline: Baseline) -> str:
    """How much better ours is than a baseline, with its unit."""
    if not baseline.unit:
        return f"{100 * baseline.gain.value:+.2f} points"
    return f"{baseline.gain.value:+.4g} {baseline.unit}"


def _ends(baseline: Baseline) -> str:
    gain = baseline.gain
    return gain.ends("+.4g") if baseline.unit else f"{100 * gain.low:+.2f} to {100 * gain.high:+.2f}"


def sentence(report: Report) -> str:
    """What the comparison shows, in words that it supports."""
    beaten = _named(b for b in report.baselines if b.gain.low > 0)
    lost = _named(b for b in report.baselines if b.gain.high < 0)
    open_ = _named(b for b in report.baselines if b.gain.low <= 0 <= b.gain.high)
    sentences = [f"Better than {_listed(beaten)}."] if beaten else []
    sentences += [f"Worse than {_listed(lost)}."] if lost else []
    sentences += [f"There is no evidence of a gain over {_listed(open_)}."] if open_ else []
    after = f"All after {report.tuning}." if report.tuning else ""
    return escape(" ".join([*sentences, after]).strip())


def _named(baselines: Iterable[Baseline]) -> list[str]:
    """Each once, with the tasks that it is about."""
    tasks: dict[str, list[str]] = {}
    for b in baselines:
        tasks.setdefault(b.name, []).extend([b.task] if b.task else [])
    return [f"{name} in {_listed(of)}" if of else name for name, of in tasks.items()]


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
    return folded("Environment", table(("", ""), rows)) if rows else ""


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
