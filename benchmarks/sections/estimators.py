"""Estimators against loops, and against the truth."""

from __future__ import annotations

from sections.rows import newest, row, table

AGAINST = {"energy": "`dcor.energy_distance` over pairs of classes", "nHSIC": "linear CKA of each pair"}


def fields() -> dict[str, str]:
    lines = []
    for found in newest("estimator_speed", ("what",)):
        most = f" to {found['times_at_most']:g}" if "times_at_most" in found else ""
        against = AGAINST.get(found["what"].split()[0], "`mutual_info_score` of scikit-learn over features")
        lines.append((found["what"], against, f"{found['times']:.3g}{most}"))
    worst = row("gaussian_mi", panel="of three, the one with most")["value"]
    return {
        "table": table(("estimate", "against", "times faster"), lines, "llr"),
        "above": str(worst["above"]),
        "points": str(worst["points"]),
        "over": f"{worst['by_at_most']:.3f}",
    }
