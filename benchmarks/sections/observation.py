"""What observing adds."""

from __future__ import annotations

from sections.rows import Row, row


def fields() -> dict[str, str]:
    plain = row("observe_cost", what="beside plain passes", labels=False)
    labelled = row("observe_cost", what="beside plain passes", labels=True)
    pairwise = row("observe_cost", what="beside pairwise")
    slower = pairwise["times"] if "times" in pairwise else pairwise["ms"]["pairwise"][0] / pairwise["ms"]["ours"][0]
    return {
        "added": added(plain),
        "memory": f"{plain['extra_mib']:.0f}",
        "labelled": added(labelled),
        "labelled_memory": f"{labelled['extra_mib']:.0f}",
        "pairwise": f"{slower:.0f}",
    }


def added(row: Row) -> str:
    """In all, and the range over batches."""
    if "ms" in row:
        shares = [b / a - 1 for a, b in zip(row["ms"]["plain"], row["ms"]["observe"], strict=True)]
        whole = sum(row["ms"]["observe"]) / sum(row["ms"]["plain"]) - 1
        return f"{whole:.1%} ({min(shares):.1%} to {max(shares):.1%} over {len(shares)} batches)".replace("%", " %")
    spread = f" ({row['lowest']:.1%} to {row['highest']:.1%} over batches)" if "lowest" in row else ""
    return f"{row['added']:.1%}{spread}".replace("%", " %")
