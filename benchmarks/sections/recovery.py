"""What each rung of recovery adds, and how the cost of the first grows."""

from __future__ import annotations

from statistics import mean

from compensation_cost import CHANNELS, COUNTS
from results_file import interval

from sections.rows import Row, newest, table

KEY = ("net", "keep", "draw", "pictures", "steps", "lr", "rate", "rungs")

HEADER = (
    "network", "rungs", "draws", "pictures", "steps of each", "agreement", "KL", "top-1", "CPU s of the last rung"
)  # fmt: skip


def fields() -> dict[str, str]:
    every = newest("ladder", KEY)
    rows, whole = [row for row in every if row["keep"] < 1], [row for row in every if row["keep"] == 1]
    costs = newest("compensation_cost", ("net", "pictures"))
    wide = [(str(c), _row(costs, channels=c, pictures=64)) for c in CHANNELS]
    long = [(str(n), _row(costs, channels=32, pictures=n)) for n in COUNTS]
    return {
        "ladder": table(HEADER, [_rung(of) for of in _by_rung(rows)], "llrrrrrrr"),
        "uncut": _uncut(whole),
        "channels": _growth("channels", wide),
        "counts": _growth("pictures", long),
    }


def _by_rung(rows: list[Row]) -> list[list[Row]]:
    """The draws of each network and rung."""
    found: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        found.setdefault((row["net"], row["rungs"], row["pictures"], row["steps"]), []).append(row)
    return list(found.values())


def _rung(draws: list[Row]) -> tuple[object, ...]:
    first, afters = draws[0], [row["after"] for row in draws]
    alike = [after["alike"] for after in afters if "alike" in after]
    close = [_mean([100 * one["agreement"] for one in alike], ".1f"), _mean([one["kl"] for one in alike], ".3f")]
    top1 = f"{_mean([100 * after['top1'] for after in afters], '.1f')} of {_percent(first['dense']['top1'])}"
    seconds = f"{mean(row['last_rung_cpu_s'] for row in draws):.0f}"
    return first["net"], first["rungs"], len(draws), f"{first['pictures']:,}", first["steps"], *close, top1, seconds


def _mean(values: list[float], form: str) -> str:
    """With its interval where there are several draws."""
    if len(values) < 2:
        return "".join(f"{value:{form}}" for value in values)
    low, high = interval(values)
    return f"{mean(values):{form}} ({low:{form}} to {high:{form}})"


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
