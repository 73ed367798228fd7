"""What several processes save."""

from __future__ import annotations

from sections.rows import newest, table

JOBS = ("observation", "curves", "compensation")


def fields() -> dict[str, str]:
    found = {(row["job"], row["world"]): row for row in newest("processes", ("job", "world", "samples"))}
    worlds = sorted({world for _, world in found})
    lines = [
        [job, *(told(found[job, 1]["busiest_cpu_s"], found[job, world]["busiest_cpu_s"]) for world in worlds)]
        for job in JOBS
    ]
    (samples,) = {row["samples"] for row in found.values()}
    header = ("", *(f"{world} process{'es' if world > 1 else ''}" for world in worlds))
    return {"samples": str(samples), "processes": table(header, lines, "l" + "r" * len(worlds))}


def told(alone: float, spent: float) -> str:
    return f"{spent:.1f} s ({alone / spent:.2f})"
