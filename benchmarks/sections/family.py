"""A family beside networks made one by one."""

from __future__ import annotations

from sections.rows import Row, newest, table

KEEPS = (0.75, 0.5, 0.35)


def fields() -> dict[str, str]:
    found = newest("family", ("net", "seed", "round_to", "way", "keep"), net="resnet20")
    ways: dict[tuple[int, int, str], dict[float, Row]] = {}
    for row in (row for row in found if row["keep"] in KEEPS):
        ways.setdefault((row["round_to"], row["seed"], row["way"]), {})[row["keep"]] = row
    whole = {key: rows for key, rows in ways.items() if len(rows) == len(KEEPS)}
    header = ("steps", "seed", "made", *(f"{keep:.0%} of the MACs" for keep in KEEPS), "CPU s", "bytes")
    lines = [(*key, *_cells(rows)) for key, rows in sorted(whole.items())]
    return {
        "dense": f"{100 * found[0]['dense']:.1f}",
        "family": table(header, lines, "rrlrrrrr"),
        "same": _compared(whole, 1),
        "differs": _compared(whole, 8),
        "uncut": _uncut([row for row in found if "same_weights" in row]),
    }


def share(step: int) -> str:
    """The CPU time of a family over that of the same networks one by one, seed by seed."""
    first = newest("family", ("net", "seed", "round_to", "way", "keep"), net="resnet20", keep=KEEPS[0], round_to=step)
    spent = {(row["seed"], row["way"]): row["way_cpu_s"] for row in first}
    ratios = [spent[seed, "family"] / spent[seed, "one by one"] for seed in sorted({seed for seed, _ in spent})]
    return f"{100 * min(ratios):.0f} to {100 * max(ratios):.0f} %"


def _uncut(found: list[Row]) -> str:
    """Whether the steps leave a network alone of which nothing is cut."""
    alike = sum(row["same_weights"] and row["same_answers"] for row in found)
    return f"in {alike} of {len(found)}" if found else "in none yet"


def _cells(rows: dict[float, Row]) -> list[str]:
    first = rows[KEEPS[0]]
    reached = [f"{100 * rows[keep]['accuracy']:.2f}" for keep in KEEPS]
    return [*reached, f"{first['way_cpu_s']:.1f}", f"{first['file_bytes']:,}"]


def _compared(whole: dict[tuple[int, int, str], dict[float, Row]], step: int) -> str:
    """How often both ways plan what is worth the same, and by how much accuracy differs where they do not."""
    pairs = [
        (rows[keep], whole[step, seed, "one by one"][keep])
        for (steps, seed, way), rows in whole.items()
        for keep in KEEPS
        if steps == step and way == "family" and (step, seed, "one by one") in whole
    ]
    alike = sum(ours["value"] == alone["value"] for ours, alone in pairs)
    gaps = [100 * (ours["accuracy"] - alone["accuracy"]) for ours, alone in pairs if ours["value"] != alone["value"]]
    told = f"plans are worth the same in {alike} of {len(pairs)} cases"
    return f"{told}; in the others top-1 differs by {', '.join(f'{gap:+.2f}' for gap in gaps)} points" if gaps else told
