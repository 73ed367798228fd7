"""The way back from each cut: after surgery, after compensation, after tuning, and the readers that were refitted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from infoprune.compensation import Row
from infoprune.report import svg
from infoprune.report.html import folded, table
from infoprune.report.model import Moment, Recovery, Report

WORSE = (
    "tuning made the network worse and was undone; a lower finetune.lr, or finetune.probe, which tries three, "
    "may keep what is right"
)
READERS = ("reader", "inputs that stay", "error of the slice", "error of the refit", "")


def way_back(report: Report) -> str:
    """The section of the page; empty where nothing was compensated."""
    norms = f"<p>{escape(report.norms[:1].upper() + report.norms[1:])}.</p>" if report.norms else ""
    if not report.recoveries:
        return f"<h2>The way back</h2>{norms}" if norms else ""
    head = ("cut", *(moment.name for moment in report.recoveries[0].moments))
    rows = [(escape(way.cut), *(_reached(moment) for moment in way.moments)) for way in report.recoveries]
    readers = "".join(_readers(way) for way in report.recoveries)
    undone = "".join(f"<p>{escape(way.cut)}: {WORSE}.</p>" for way in report.recoveries if way.undone)
    return f"<h2>The way back</h2>{table(head, rows)}{undone}{norms}{readers}"


def summary(report: Report) -> Iterator[str]:
    """A line a cut, as text."""
    for way in report.recoveries:
        line = ", ".join(f"{_words(moment)} {moment.name}" for moment in way.moments)
        yield f"{way.cut}: {line}" + (f"; {WORSE}" if way.undone else "")


def _words(moment: Moment) -> str:
    if moment.accuracy is not None:
        return f"{moment.accuracy.value:.2%}"
    return " and ".join(f"{s.name} {svg.number(s.value.value)} {s.unit}" for s in moment.scores) or "not measured"


def _reached(moment: Moment) -> str:
    if moment.accuracy is None:
        return escape(_words(moment))
    return f'{_words(moment)} <span class="soft">({moment.accuracy.ends()})</span>'


def _readers(way: Recovery) -> str:
    """The table of readers, folded, with what the squared errors are."""
    done = way.compensation
    text = f"<p>{escape(way.cut)}: {escape(done.in_short())}.</p>"
    alone = "".join(f"<p>{escape(name)} was left alone: {escape(why)}.</p>" for name, why in done.alone.items())
    rows = [_row(row) for row in done.rows]
    return (
        text + folded(f"All {len(rows)} readers of {way.cut}", table(READERS, rows) + alone) if rows else text + alone
    )


def _row(row: Row) -> Sequence[str]:
    kept = "" if row.taken else "keeps its slice"
    return (escape(row.reader), f"{row.kept:,} of {row.columns:,}", f"{row.plain:.4f}", f"{row.refitted:.4f}", kept)
