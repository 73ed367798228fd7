"""Solvers beside each other."""

from __future__ import annotations

from sections.rows import median, newest, row, table

SOLVERS = ("geometric", "geometric-cvxpy", "slsqp")


def fields() -> dict[str, str]:
    lines = []
    for found in newest("allocation_speed", ("network", "step", "units"), what="times"):
        cells = [f"{median(found, s):.0f} ({found['gap_percent'][s]:.3f})" for s in SOLVERS]
        lines.append((f"{found['network']}, step {found['step']}", ", ".join(found["units"]), *cells))
    wide = row("allocation_speed", what="gap", network="mobilenet_v2", utility=0.0)
    where = f"{wide['gap_percent']:.2f} % for {wide['network']} at step {wide['step']}, keep {wide['keep']:g} and p = 0"
    return {
        "table": table(("network", "budgets", "`geometric`", "`geometric-cvxpy`", "`slsqp`"), lines, "llrrr"),
        "widest": f"{row('allocation_speed', what='gap', utility=-1.0)['gap_percent']:.2f}",
        "beyond": where,
    }
