"""How much was measured, and how long that took."""

from __future__ import annotations

from results_file import FOLDER, read

from sections.machine import seconds_of


def fields() -> dict[str, str]:
    everything = [row for path in sorted(FOLDER.glob("*.jsonl")) for row in read(path)]
    seconds = [seconds_of(row) for row in everything]
    timed = [s for s in seconds if s is not None]
    return {
        "rows": f"{len(everything):,}",
        "hours": f"{sum(timed) / 3600:.1f}",
        "untimed": f"{len(seconds) - len(timed)}",
    }
