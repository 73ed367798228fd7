"""How long measuring took, by program."""

from __future__ import annotations

from results_file import FOLDER, read

from sections.rows import Row, table


def fields() -> dict[str, str]:
    lines = []
    for path in sorted(FOLDER.glob("*.jsonl")):
        found = read(path)
        timed = [seconds for each in found if (seconds := seconds_of(each)) is not None]
        minutes = f"{sum(timed) / 60:.1f}" if timed else "-"
        lines.append((f"`{path.name}`", len(found), minutes, len(found) - len(timed)))
    return {"table": table(("rows of", "rows", "CPU minutes", "say no time"), lines, "lrrr")}


def seconds_of(row: Row) -> float | None:
    return row.get("cpu_s", row.get("cpu_seconds"))
