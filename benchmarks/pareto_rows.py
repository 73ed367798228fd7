"""The rows of the whole product: what they are about, and which of them say what is best."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from statistics import mean
from typing import Any

KEY = ("net", "keep", "entry", "draw", "rate", "images")
OURS, AS_FAST = "ours", "ours, as fast"
FIRST, *_ = HOSTS = ("host isomorphic L1", "host global L1", "host group L2")
ENTRIES = (OURS, *HOSTS, AS_FAST)
DIGITS, PRETRAINED = ("resnet20", "vgg16", "resnet56_grown"), ("mobilenetv2", "lite0")
RUNGS = {FIRST: "host isomorphic L1, norms anew, distillation", OURS: "compensation, distillation"}  # of ladder.py
LADDER = {"pictures": 1_280, "steps": 100, "lr": 1e-3, "rate": 3e-3}  # of the rows of ladder.py that are read
Row = dict[str, Any]


def rates_of(
    rows: Sequence[Row], draw: int, net: str, keep: float, entry: str, tried: Sequence[float]
) -> Sequence[float]:
    """A single rate is everyone's; of several, draw 0 of ours and of the host's first entry tries them all, and
    everything else takes what was best there.
    """
    tries = len(tried) == 1 or (draw == 0 and entry in (OURS, FIRST))
    return tried if tries else [best_rate(rows, net, keep, entry)]


def best_rate(rows: Sequence[Row], net: str, keep: float, entry: str) -> float:
    """The one at which draw 0 of ours, or of the host's first entry, came out best."""
    return best_of_draw_0(rows, net, keep, (FIRST if entry in HOSTS else OURS,))["rate"]


def best_host(rows: Sequence[Row], net: str, keep: float) -> str:
    return best_of_draw_0(rows, net, keep, HOSTS)["entry"]


def competes(rows: Sequence[Row], draw: int, net: str, keep: float, entry: str) -> bool:
    """Other draws than the first are for ours and the best of the host."""
    return draw == 0 or entry not in HOSTS or entry == best_host(rows, net, keep)


def known_share(rows: Sequence[Row], net: str, keep: float) -> tuple[float, int] | None:
    """The share and the multiple at which an earlier draw was as fast: widths don't depend on the draw."""
    about = net, keep, AS_FAST
    found = [row for row in rows if (row["net"], row["keep"], row["entry"]) == about]
    return (found[0]["share"], found[0]["round_to"]) if found else None


def best_of_draw_0(rows: Sequence[Row], net: str, keep: float, entries: Collection[str]) -> Row:
    tried = [
        row for row in rows if (row["net"], row["keep"], row["draw"]) == (net, keep, 0) and row["entry"] in entries
    ]
    if not tried:
        raise SystemExit(f"draw 0 of {', '.join(entries)}, which chooses for the others, is missing: {net}, {keep:.0%}")
    return max(tried, key=lambda row: row["accuracy"])


def at_best_rate(rows: Sequence[Row], net: str, keep: float, entry: str) -> list[Row]:
    """A row a draw, at the rate with the best mean of those that most draws were tuned at."""
    by_rate: dict[float, list[Row]] = {}
    for row in rows:
        if (row["net"], row["keep"], row["entry"]) == (net, keep, entry):
            by_rate.setdefault(row["rate"], []).append(row)
    most = max(map(len, by_rate.values()), default=0)
    full = [found for found in by_rate.values() if len(found) == most]
    return max(full, key=lambda found: mean(row["accuracy"] for row in found), default=[])
