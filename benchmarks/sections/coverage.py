"""Which models prune and export."""

from __future__ import annotations

from sections.rows import newest


def fields() -> dict[str, str]:
    zoo, exports = newest("zoo_coverage", ("model",)), newest("export_coverage", ("model",))
    by = {each: [r["model"] for r in zoo if r["outcome"] == each] for each in ("pruned", "refused", "failed")}
    found = [r for r in exports if "difference" in r]
    return {
        "models": f"{len(zoo)}",
        **{each: f"{len(names)}" for each, names in by.items()},
        "refused_names": ", ".join(by["refused"]),
        "tried": f"{len(exports)}",
        "exported": f"{len(found)}",
        "difference": f"{max(r['difference'] for r in found):.1e}",
        "nothing": ", ".join(r["model"] for r in found if r["difference"] == 0) or "none",
    }
