"""Other runtimes."""

from __future__ import annotations

from sections.rows import newest, table


def fields() -> dict[str, str]:
    found = newest("runtimes", ("model", "runtime"), model="resnet18")
    lines = [(r["runtime"], r["dense_ms"], r["pruned_ms"], r["ratio"], r["off"]) for r in found]
    header = ("runtime", "dense, ms", "pruned, ms", "pruned / dense (99.5 % interval)", "off torch by")
    return {"title": found[0]["title"], "runtimes": table(header, lines, "lrrlr")}
