"""What the steps of pruning cost beside the host."""

from __future__ import annotations

from sections.rows import median, row, table, times


def fields() -> dict[str, str]:
    found = row("surgery_speed", model="resnet50")
    names = ("plan", "certificate", "prune without certificate", "two forward passes", "host")
    lines = [(name, f"{median(found, name):.0f}", f"{times(found, name, 'host'):.2f}") for name in names]
    return {
        "ours": f"{times(found, 'ours', 'host'):.2f}",
        "ours_s": f"{median(found, 'ours') / 1e3:.2f}",
        "host_s": f"{median(found, 'host') / 1e3:.2f}",
        "steps": table(("step", "CPU ms", "of the host's whole run"), lines, "lrr"),
    }
