"""Solvers beside each other."""

from __future__ import annotations

import statistics

from sections.rows import Row, median, newest, table

DEFAULT, AIM = -1.0, 0.45  # the power of the utility; the gap in percent at which an integer program stops
SOLVERS = ("geometric", "geometric-cvxpy", "slsqp")


def fields() -> dict[str, str]:
    lines = []
    for found in newest("allocation_speed", ("network", "step", "units"), what="times"):
        cells = [f"{median(found, s):.0f} ({found['gap_percent'][s]:.3f})" for s in SOLVERS]
        lines.append((f"{found['network']}, step {found['step']}", ", ".join(found["units"]), *cells))
    found = newest("allocation_speed", ("network", "step", "keep", "utility"), what="gap")
    by_power = {p: [r for r in found if r["utility"] == p] for p in sorted({r["utility"] for r in found})}
    return {
        "table": table(("network", "budgets", "`geometric`", "`geometric-cvxpy`", "`slsqp`"), lines, "llrrr"),
        "answers": str(len(found)),
        "gaps": gaps(by_power),
        "widest": percent(widest(by_power[DEFAULT])),
        "beyond": str(sum(r["gap_percent"] > AIM for r in found)),
        "aim": f"{AIM}",
    }


def gaps(by_power: dict[float, list[Row]]) -> str:
    """A line for each power of the utility."""
    lines = []
    for power, found in by_power.items():
        most = widest(found)
        within = sum(r["gap_percent"] <= AIM for r in found)
        middle = statistics.median(r["gap_percent"] for r in found)
        lines.append((f"{power:g}", len(found), within, f"{middle:.3f} %", f"{percent(most)} ({case(most)})"))
    return table(("p", "answers", f"within {AIM} %", "median gap", "widest gap"), lines, "rrrrl")


def widest(found: list[Row]) -> Row:
    return max(found, key=lambda r: r["gap_percent"])


def percent(found: Row) -> str:
    return f"{found['gap_percent']:.2f} %"


def case(found: Row) -> str:
    return f"{found['network']} at step {found['step']}, keep {found['keep']:g}"
