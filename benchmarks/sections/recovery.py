"""What each rung of recovery adds, and how the cost of the first grows."""

from __future__ import annotations

from compensation_cost import CHANNELS, COUNTS

from sections.rows import Row, newest, table

KEY = ("net", "keep", "draw", "pictures", "steps", "lr", "rate", "rungs")


def fields() -> dict[str, str]:
    every = newest("ladder", KEY)
    rows, whole = [row for row in every if row["keep"] < 1], [row for row in every if row["keep"] == 1]
    costs = newest("compensation_cost", ("net", "pictures"))
    wide = [(str(c), _row(costs, channels=c, pictures=64)) for c in CHANNELS]
    long = [(str(n), _row(costs, channels=32, pictures=n)) for n in COUNTS]
    return {
        "ladder": table(
            (
                "network",
                "rungs",
                "draw",
                "pictures",
                "steps of each",
                "agreement",
                "KL",
                "top-1",
                "CPU s of the last rung",
            ),
            [_rung(row) for row in rows],
            "llrrrrrrr",
        ),
        "uncut": _uncut(whole),
        "channels": _growth("channels", wide),
        "counts": _growth("pictures", long),
    }


def _rung(row: Row) -> tuple[object, ...]:
    after, seconds = row["after"], f"{row['last_rung_cpu_s']:.0f}"
    alike = after.get("alike")
    close = (_percent(alike["agreement"]), f"{alike['kl']:.3f}") if alike else ("", "")
    top1 = f"{_percent(after['top1'])} of {_percent(row['dense']['top1'])}"
    return row["net"], row["rungs"], row["draw"], f"{row['pictures']:,}", row["steps"], *close, top1, seconds


def _uncut(rows: list[Row]) -> str:
    """What the rungs do to a network of which nothing is cut."""
    assert rows
    told = [
        f"{row['rungs']}: "
        + ("bit for bit" if row["unharmed"] else f"other weights, {_percent(row['after']['top1'])} %")
        for row in rows
    ]
    before = _percent(rows[0]["dense"]["top1"])
    return f"A {rows[0]['net']} of which nothing is cut ({before} %) comes out of " + "; of ".join(told)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _row(costs: list[Row], **about: int) -> Row:
    return next(row for row in costs if all(row.get(name) == value for name, value in about.items()))


def _growth(what: str, rows: list[tuple[str, Row]]) -> str:
    lines = [
        ("compensation, CPU s", *(f"{row['cpu_s_of_it']:.1f}" for _, row in rows)),
        ("times the forward passes", *(f"{row['times_forward']:.1f}" for _, row in rows)),
        ("MiB", *(f"{row['mib']:,.0f}" for _, row in rows)),
    ]
    return table((what, *(name for name, _ in rows)), lines, "l" + "r" * len(rows))
