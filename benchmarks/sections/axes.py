"""Whole blocks, tokens and narrower layers at equal measured latency, with compensation."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

from results_file import Difference, paired

from sections.rows import Row, newest, table

KEY = ("net", "axis", "draw", "speed", "samples")
NETS = {"vit": "ViT-S/14", "mobilenetv2": "MobileNetV2", "resnet56_grown": "ResNet-56"}
BASE = "widths"


def fields() -> dict[str, str]:
    found = newest("axes", KEY)
    cut = [row for row in found if "unharmed" not in row]
    nets = [net for net in NETS if any(row["net"] == net for row in cut)]
    header = ("network", "axis", "draws", "time", "MACs", "as surgery leaves it", "compensated", "dense", "than widths")
    return {
        "samples": " or ".join(sorted({str(row["samples"]) for row in found})),
        "table": table(header, [line for net in nets for line in lines_of(net, cut)], "llrrrrrrr"),
        "verdict": verdict(nets, cut),
        "unharmed": unharmed([row for row in found if "unharmed" in row]),
    }


def lines_of(net: str, rows: Sequence[Row]) -> list[tuple[object, ...]]:
    here = [row for row in rows if row["net"] == net]
    return [line(net, axis, here) for axis in dict.fromkeys(row["axis"] for row in here)]


def line(net: str, axis: str, here: Sequence[Row]) -> tuple[object, ...]:
    mine = [row for row in here if row["axis"] == axis]
    share, form = shown(net)
    cells = [f"{share * mean(judged(row[when]) for row in mine):{form}}" for when in ("before", "after", "dense")]
    took = f"{mean(row['time'][0] for row in mine):.2f}"
    gap = ahead(net, axis, here)
    told = "" if axis == BASE else f"{gap:{form}}" if isinstance(gap, Difference) else f"{gap:+{form}}"
    return NETS[net], axis, len(mine), took, f"{mean(row['macs'] for row in mine):.0%}", *cells, told


def ahead(net: str, axis: str, here: Sequence[Row]) -> Difference | float:
    """By how much this axis is ahead of widths on the draws of both; one draw has no interval."""
    share, _ = shown(net)
    mine, base = (
        {row["draw"]: share * judged(row["after"]) for row in here if row["axis"] == one} for one in (axis, BASE)
    )
    if len(mine.keys() & base.keys()) > 1:
        return paired(mine, base)
    return mean(mine[draw] - base[draw] for draw in mine.keys() & base.keys())


def verdict(nets: Sequence[str], cut: Sequence[Row]) -> str:
    """Which axis was best on each network."""
    told = []
    for net in nets:
        here = [row for row in cut if row["net"] == net]
        axes = dict.fromkeys(row["axis"] for row in here)
        best = max(axes, key=lambda axis: mean(judged(row["after"]) for row in here if row["axis"] == axis))
        told.append(f"{best} on {NETS[net]}")
    return f"**Best once compensated: {', '.join(told)}.**"


def unharmed(rows: Sequence[Row]) -> str:
    """Which networks of which nothing was cut came out bit for bit."""
    good = [NETS[row["net"]] for row in rows if row["unharmed"] and row["after"] == row["dense"]]
    return f"Nothing cut, bit for bit the same after these steps: {', '.join(good)} ({len(rows)} tried)."


def judged(told: Row) -> float:
    """One number of what a network is judged by."""
    if "alike" in told:
        return told["alike"]["agreement"]
    return told["iou"] if "iou" in told else told["top1"]


def shown(net: str) -> tuple[float, str]:
    return (1, ".3f") if net == "vit" else (100, ".1f")
