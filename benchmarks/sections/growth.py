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
        about = "; ".join(f"{name} {b:.1f}, {c[-1] / costs[-1]:.2g} times" for name, _, c, b in others)
        lines.append((curve, f"{sizes[0]} to {sizes[-1]} {unit}", f"{ours} {power:.1f}", about))
    return {"table": table(("curve", "size", "exponent of ours", "others: exponent, time at the largest size"), lines)}
