"""Which models prune and export."""

from __future__ import annotations

from sections.rows import newest


def fields() -> dict[str, str]:
    zoo, exports = newest("zoo_coverage", ("model",)), newest("export_coverage", ("model",))
    by = {each: [r["model"] for r in zoo if r["outcome"] == each] for each in ("pruned", "refused", "failed")}
    others = [r for r in exports if ":" in r["model"]]
    exports = [r for r in exports if ":" not in r["model"]]
    found, elsewhere = ([r for r in rows if "difference" in r] for rows in (exports, others))
    failed = [r for r in (*exports, *others) if "difference" not in r]
    return {
        "models": f"{len(zoo)}",
        **{each: f"{len(names)}" for each, names in by.items()},
        "refused_names": ", ".join(by["refused"]),
        "tried": f"{len(exports)}",
        "exported": f"{len(found)}",
        "difference": f"{max(r['difference'] for r in found):.1e}",
        "others": f"{len(others)}",
        "elsewhere": f"{len(elsewhere)}",
        "others_difference": f"{max(r['difference'] for r in elsewhere):.1e}",
        "not_exported": "; ".join(f"{r['model']} ({r['reason'][:160]})" for r in failed) or "none",
    }
