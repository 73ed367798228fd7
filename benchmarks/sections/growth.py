"""Exponents of the growth curves, and ratios at their ends."""

from __future__ import annotations

from growth import CURVES, lines_of
from results_file import FOLDER, read

from sections.rows import table


def fields() -> dict[str, str]:
    measured, lines = read(FOLDER / "growth.jsonl"), []
    for curve, (_, _, unit) in CURVES.items():
        found = list(lines_of(measured, curve))
        if not found:
            continue
        (ours, sizes, costs, power), *others = found
        ends = ((name, b, c[0] / costs[0], c[-1] / costs[-1]) for name, _, c, b in others)
        about = "; ".join(f"{name} n^{b:.1f}, {brief(first)} to {brief(last)}" for name, b, first, last in ends)
        lines.append((curve, f"{sizes[0]} to {sizes[-1]} {unit}", f"{ours} n^{power:.1f}", about))
    return {"table": table(("curve", "size", "exponent of ours", "others: exponent, time over ours"), lines)}


def brief(times: float) -> str:
    return f"{times:.0f}" if times >= 10 else f"{times:.2g}"
