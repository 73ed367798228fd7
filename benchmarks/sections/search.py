"""What trying many widths adds to the widths that are certified best, before and after tuning."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

from results_file import paired

from sections.rows import Row, newest, table
from sections.tuning import best

KEY = ("net", "keep", "draw", "prior", "rounds", "each", "which", "images", "rate")
TUNED = 1_280  # pictures


def fields() -> dict[str, str]:
    found = newest("allocation_search", KEY)
    ends = [row for row in found if row["which"] == "end"]
    settings = sorted(
        {(row["net"], row["keep"], row["prior"]) for row in ends}, key=lambda one: (one[0], -one[1], one[2])
    )
    header = ("network", "MACs", "draws", "judged by", "KL", "untrained", "ahead by", f"after {TUNED:,}", "ahead by")
    return {
        "nets": " ".join(dict.fromkeys(row["net"] for row in ends)),
        "evaluations": " or ".join(sorted({str(row["rounds"] * row["each"]) for row in ends})),
        "table": table(header, [_line(found, *setting) for setting in settings], "lrrlrrrrr"),
        **_found(found),
        "seconds": f"{mean(row['search_cpu_s'] for row in ends):.0f}",
        "start_seconds": f"{mean(row['search_cpu_s'] for row in found if row['which'] == 'start'):.0f}",
    }


def _found(found: Sequence[Row]) -> dict[str, str]:
    """By how much trying is ahead without the prior, which most draws were tried with."""
    [(net, keep)] = {(row["net"], row["keep"]) for row in found if row["which"] == "end" and not row["prior"]}
    *_, untrained, _, tuned = _line(found, net, keep, 0)
    return {"untrained": str(untrained), "tuned": str(tuned)}


def _line(found: Sequence[Row], net: str, keep: float, prior: float) -> tuple[object, ...]:
    here = [row for row in found if (row["net"], row["keep"]) == (net, keep)]
    ends = [row for row in here if row["which"] == "end" and row["prior"] == prior]
    draws = {row["draw"] for row in ends if row["images"] == TUNED}
    starts = [row for row in here if row["which"] == "start" and row["draw"] in draws]
    sides = (starts, ends)
    told: list[str] = []
    for images in (0, TUNED):
        before, after = (_best([row for row in side if row["images"] == images]) for side in sides)
        told += [f"{mean(before.values()):.1f} to {mean(after.values()):.1f}", _gap(after, before)]
    kl = " to ".join(f"{mean(row['kl'] for row in side if not row['images']):.3f}" for side in sides)
    return net, f"{keep:.0%}", len(draws), "KL, with the prior" if prior else "KL", kl, *told


def _gap(after: dict[int, float], before: dict[int, float]) -> str:
    """One draw has no interval."""
    if len(after) < 2:
        return f"{mean(after.values()) - mean(before.values()):+.1f}"
    return f"{paired(after, before):.1f}"


def _best(rows: Sequence[Row]) -> dict[int, float]:
    """The accuracy of each draw at the best rate, in percent."""
    rates: dict[float, dict[int, float]] = {}
    for row in rows:
        rates.setdefault(row["rate"], {})[row["draw"]] = 100 * row["accuracy"]
    return best(rates)[1]
