"""What compensation leaves to tuning, and what tuning leaves of it."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import mean

from results_file import Difference, paired

from sections.rows import Row, newest, table

KEY = ("net", "keep", "draw", "way", "images", "rate")
WITHOUT, OURS = "norms anew", "ours"
Place = tuple[str, float, int]


def fields() -> dict[str, str]:
    rows = newest("compensation_tuning", KEY)
    both = {
        place: sides for place, sides in by_place([r for r in rows if r["way"] != "dense"]).items() if len(sides) == 2
    }
    contests = {place: sides for place, sides in both.items() if place[1] < 1}
    dense = {row["net"]: row["accuracy"] for row in rows if row["way"] == "dense"}
    return {
        "dense": ", ".join(f"{net} {100 * accuracy:.1f} %" for net, accuracy in dense.items()),
        "uncut": uncut({place: sides for place, sides in both.items() if place[1] == 1}),
        "table": compared(contests),
        "average": averages(contests),
    }


def by_place(rows: list[Row]) -> dict[Place, dict[str, tuple[float, dict[int, float]]]]:
    """(network, share, pictures) -> side -> its best rate and the accuracy of each draw there."""
    found: dict[Place, dict[str, dict[float, dict[int, float]]]] = {}
    for row in rows:
        sides = found.setdefault((row["net"], row["keep"], row["images"]), {})
        sides.setdefault(row["way"], {}).setdefault(row["rate"], {})[row["draw"]] = row["accuracy"]
    return {place: {side: best(rates) for side, rates in sides.items()} for place, sides in found.items()}


def best(rates: Mapping[float, dict[int, float]]) -> tuple[float, dict[int, float]]:
    """The rate with the best mean, among those that most draws were tuned at."""
    most = max(map(len, rates.values()))
    return max(
        ((rate, draws) for rate, draws in rates.items() if len(draws) == most), key=lambda one: mean(one[1].values())
    )


def compared(contests: Mapping[Place, Mapping[str, tuple[float, dict[int, float]]]]) -> str:
    lines = []
    for (net, keep, images), sides in sorted(contests.items(), key=lambda one: (one[0][0], -one[0][1], one[0][2])):
        told = [f"{100 * mean(draws.values()):.1f} (rate {rate:g})" for rate, draws in (sides[WITHOUT], sides[OURS])]
        cells = [cell.replace(" (rate 0)", "") for cell in told]
        lines.append((net, f"{keep:.0%}", f"{images:,}", *cells, f"{gap(sides):.1f}"))
    return table(("network", "MACs", "pictures", WITHOUT, OURS, "ours ahead by"), lines, "lrrrrr")


def uncut(whole: Mapping[Place, Mapping[str, tuple[float, dict[int, float]]]]) -> str:
    """What the steps alone do to a network, at the best rate of each side."""
    told = []
    for (net, _, images), sides in sorted(whole.items()):
        without, ours = (100 * mean(sides[side][1].values()) for side in (WITHOUT, OURS))
        told.append(f"{net} {without:.1f} / {ours:.1f} with {images:,} pictures")
    return ", ".join(told)


def gap(sides: Mapping[str, tuple[float, dict[int, float]]]) -> Difference:
    """By how many points ours is ahead, paired by draw."""
    ours, without = ({draw: 100 * value for draw, value in sides[side][1].items()} for side in (OURS, WITHOUT))
    return paired(ours, without)


def averages(contests: Mapping[Place, Mapping[str, tuple[float, dict[int, float]]]]) -> str:
    """The mean gap for each number of pictures, over networks and shares."""
    told = []
    for images in sorted({place[2] for place in contests}):
        gaps = [gap(sides).mean for place, sides in contests.items() if place[2] == images]
        told.append(f"{mean(gaps):+.1f} points with {images:,} pictures ({len(gaps)} cuts)")
    return "On average ours is ahead by " + ", ".join(told) + "."
