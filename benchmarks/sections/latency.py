"""Predicted and measured latency."""

from __future__ import annotations

from sections.rows import newest, row, table


def fields() -> dict[str, str]:
    lines = []
    for found in newest("latency_model", ("model", "keep"), what="budget"):
        low, high = found["measured_ratio"]
        errors = (f"{100 * found[name]:+.1f} %" for name in ("ratio_error", "ms_error"))
        lines.append((found["model"], f"{found['predicted_ratio']:.3f}", f"{low:.3f} to {high:.3f}", *errors))
    itself = row("latency_model", what="itself")
    few = row("latency_model", what="57 of 64 channels")
    header = ("network", "predicted ratio", "measured ratio", "error of the ratio", "error in ms")
    return {
        "table": table(header, lines, "lrrrr"),
        "saved": f"{100 * few['macs_saved']:.1f} %",
        "few": few["difference"],
        "comparisons": f"{itself['comparisons']}",
        "right": f"{itself['right']}",
    }
