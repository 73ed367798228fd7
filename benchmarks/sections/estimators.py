"""Estimators against loops, and against the truth."""

from __future__ import annotations

from gaussian_mi import CLUSTERS, CORRELATIONS

from sections.rows import Row, newest, rows, table

AGAINST = {"energy": "`dcor.energy_distance` over pairs of classes", "nHSIC": "linear CKA of each pair"}
PANELS = ("numbers", "pairs, whole", "pairs, patched")


def fields() -> dict[str, str]:
    lines = []
    for found in newest("estimator_speed", ("what",)):
        against = AGAINST.get(found["what"].split()[0], "`mutual_info_score` of scikit-learn over features")
        spent = (f"{found[name]:.2f}" for name in ("loop_s", "ours_s"))
        lines.append((found["what"], against, *spent, f"{found['times']:.3g}"))
    panels = [largest(panel) for panel in PANELS]
    plug_in = [panel["value"] for panel in panels]
    return {
        "table": table(("estimate", "against", "loop, s", "ours, s", "times faster"), lines, "llrrr"),
        "command": panels[0]["command"],
        "falls": str(sum(panel["falls_as_k_grows"] for panel in plug_in)),
        "steps": str(len(PANELS) * (len(CLUSTERS) - 1) * (len(CORRELATIONS) - 1)),
        "above": str(max(panel["above"] for panel in plug_in)),
        "points": str(plug_in[0]["points"]),
        "over": f"{max(panel['by_at_most'] for panel in plug_in):.3f}",
    }


def largest(panel: str) -> Row:
    """The run with the most samples."""
    return max(rows("gaussian_mi", panel=panel), key=lambda found: found["samples"])
