"""What compensation leaves to tuning, and what tuning leaves of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean

from results_file import Difference, paired

from sections.rows import Row, newest, table

KEY = ("net", "keep", "draw", "way", "images", "rate")
WITHOUT, OURS = "norms anew", "ours"
RIVALS = ("uniform ratio", "host global L1", "host isomorphic L1")  # norms anew
CURVES = "ours, curves"  # widths as recipes choose them
BY_L1 = "L1, ours"
HELPED = "host isomorphic L1, ours"  # refitted by this library
MANY, RATE = 12_800, 0.05  # pictures, and the rate at which all ways were tuned on them
ROUGH = "resnet56_grown"  # was tuned at a lower rate as well, which the page tells of
Place = tuple[str, float, int]
Sides = Mapping[str, tuple[float, dict[int, float]]]  # way -> its best rate and the accuracy of each draw there


def fields() -> dict[str, str]:
    contests, whole = cuts(), beside_rivals()
    dense = {row["net"]: row["accuracy"] for row in newest("compensation_tuning", KEY, way="dense")}
    return {
        "dense": ", ".join(f"{net} {100 * accuracy:.1f} %" for net, accuracy in dense.items()),
        "uncut": uncut({place: sides for place, sides in tuned().items() if place[1] == 1}),
        "table": compared(contests),
        "average": averages(contests),
        "rivals": rivals(whole),
        "rivals_average": rivals_average(whole),
        "by_budget": by_budget(whole),
        "other_rates": other_rates(),
        **longest(whole),
        "units": units(),
    }


def tuned() -> dict[Place, Sides]:
    return by_place([row for row in newest("compensation_tuning", KEY) if row["way"] != "dense"])


def places() -> dict[Place, Sides]:
    """Where both sides of the first table were tuned."""
    return {place: sides for place, sides in tuned().items() if comparable(sides, WITHOUT)}


def comparable(sides: Sides, *others: str) -> bool:
    """Whether two draws at least were tuned both by ours and by each of those."""
    return all({OURS, way} <= sides.keys() and len(sides[OURS][1].keys() & sides[way][1].keys()) > 1 for way in others)


def cuts() -> dict[Place, Sides]:
    return {place: sides for place, sides in places().items() if place[1] < 1}


def beside_rivals() -> dict[Place, Sides]:
    """Where a uniform ratio and a ranking of the host were tuned as well."""
    return {place: sides for place, sides in tuned().items() if comparable(sides, RIVALS[0], *hosts(sides))}


def by_place(rows: list[Row]) -> dict[Place, Sides]:
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


def compared(contests: Mapping[Place, Sides]) -> str:
    lines = []
    for (net, keep, images), sides in sorted(contests.items(), key=lambda one: (one[0][0], -one[0][1], one[0][2])):
        told = [f"{100 * mean(draws.values()):.1f} (rate {rate:g})" for rate, draws in (sides[WITHOUT], sides[OURS])]
        cells = [cell.replace(" (rate 0)", "") for cell in told]
        lines.append((net, f"{keep:.0%}", f"{images:,}", *cells, f"{gap(sides):.1f}"))
    return table(("network", "MACs", "pictures", WITHOUT, OURS, "ours ahead by"), lines, "lrrrrr")


def uncut(whole: Mapping[Place, Sides]) -> str:
    """What the steps alone do to a network, at the best rate of each side."""
    told = []
    for (net, _, images), sides in sorted(whole.items()):
        without, ours = (100 * mean(sides[side][1].values()) for side in (WITHOUT, OURS))
        told.append(f"{net} {without:.1f} / {ours:.1f} with {images:,} pictures")
    return ", ".join(told)


def gap(sides: Sides, other: str = WITHOUT, ours: str = OURS) -> Difference:
    """By how many points ours is ahead, paired by draw."""
    mine, theirs = ({draw: 100 * value for draw, value in sides[side][1].items()} for side in (ours, other))
    return paired(mine, theirs)


def rivals(whole: Mapping[Place, Sides]) -> str:
    """Ours beside cuts that this library chose nothing of, and how far ahead of the host's better ranking it is."""
    ways = (*RIVALS, HELPED, OURS, CURVES)
    lines = []
    for (net, keep, images), sides in sorted(whole.items(), key=lambda one: (one[0][2], one[0][0], -one[0][1])):
        cells = [f"{100 * mean(sides[way][1].values()):.1f}" if way in sides else "" for way in ways]
        lines.append((f"{images:,}", net, f"{keep:.0%}", *cells, f"{gap(sides, better_host(sides)):.1f}"))
    return table(("pictures", "network", "MACs", *ways, "ours ahead of the host"), lines, "rlrrrrrrr")


def units() -> str:
    """Ours beside units by L1, widths by the same rule, refitted as well."""
    both = {place: sides for place, sides in tuned().items() if {OURS, BY_L1} <= sides.keys()}
    told = []
    for images in sorted({place[2] for place in both}):
        gaps = {place: gap(sides, BY_L1) for place, sides in sorted(both.items()) if place[2] == images}
        each = ", ".join(f"{net} at {keep:.0%} {of:.1f}" for (net, keep, _), of in gaps.items())
        told.append(f"with {images:,} pictures by {mean(of.mean for of in gaps.values()):+.1f} on average ({each})")
    return "Ours is ahead of it " + "; ".join(told) + "."


def hosts(sides: Sides) -> list[str]:
    """The rankings of the host that got this network that far."""
    return [way for way in RIVALS[1:] if way in sides] or list(RIVALS[1:])


def better_host(sides: Sides) -> str:
    return max(hosts(sides), key=lambda way: mean(sides[way][1].values()))


def rivals_average(whole: Mapping[Place, Sides]) -> str:
    told = []
    for images in sorted({place[2] for place in whole}):
        here = [sides for place, sides in whole.items() if place[2] == images]
        gaps = {
            "the host's better ranking": [gap(sides, better_host(sides)).mean for sides in here],
            "the uniform ratio": [gap(sides, "uniform ratio").mean for sides in here],
        }
        ahead = " and ".join(f"{mean(of):+.1f} of {name} (least {min(of):+.1f})" for name, of in gaps.items())
        told.append(f"with {images:,} pictures {ahead}, {len(here)} cuts")
    return "Ours is ahead " + "; ".join(told) + "."


def by_budget(whole: Mapping[Place, Sides]) -> str:
    """Default widths and measured ones ahead of the host and of the uniform ratio, averages over cuts and the least."""
    lines = []
    for images, keep in sorted({(images, keep) for _, keep, images in whole}, key=lambda one: (one[0], -one[1])):
        here = [sides for place, sides in whole.items() if place[1:] == (keep, images)]
        cells = []
        for side in (OURS, CURVES):
            both = [sides for sides in here if len(sides.get(side, (0, ()))[1]) > 1]
            for other in (better_host, lambda _: "uniform ratio"):
                gaps = [gap(sides, other(sides), side) for sides in both]
                cells.append(average_and_least(gaps) if gaps else "")
        lines.append((f"{images:,}", f"{keep:.0%}", len(here), *cells))
    names = [f"{side} - {other}" for side in (OURS, CURVES) for other in ("host", "uniform")]
    return table(("pictures", "MACs", "networks", *names), lines, "rrrrrrr")


def other_rates() -> str:
    """What other rates than the one of all ways came to after 12,800 pictures, a draw each."""
    found = [row for row in newest("compensation_tuning", KEY, images=MANY, draw=0) if row["keep"] < 1]
    told = []
    for net, keep in sorted({(row["net"], row["keep"]) for row in found if row["net"] != ROUGH}):
        here = [row for row in found if (row["net"], row["keep"]) == (net, keep)]
        others = sorted({row["rate"] for row in here} - {RATE})
        ways = [way for way in (CURVES, OURS, RIVALS[0]) if any(row["way"] == way for row in here)]
        if others:
            each = [f"{way} {_at_rates(here, way, [RATE, *others])}" for way in ways]
            told.append(f"{net} at {keep:.0%}: {', '.join(each)}")
    return "; ".join(told)


def _at_rates(found: Sequence[Row], way: str, rates: Sequence[float]) -> str:
    known = {row["rate"]: row["accuracy"] for row in found if row["way"] == way}
    return " and ".join(f"{100 * known[rate]:.1f} at {rate:g}" for rate in rates if rate in known)


def longest_of(whole: Mapping[Place, Sides]) -> tuple[Place, Sides]:
    """Where most pictures were seen."""
    return max(whole.items(), key=lambda one: one[0][2])


def longest(whole: Mapping[Place, Sides]) -> dict[str, str]:
    """Where most pictures were seen: what each way came to at its best rate, and whether it left the uniform ratio."""
    (net, keep, images), sides = longest_of(whole)
    names = [way for way in (CURVES, OURS, *RIVALS) if way in sides]
    each = [f"{way} {100 * mean(sides[way][1].values()):.1f} (rate {sides[way][0]:g})" for way in names]
    gaps = [f"{way} {gap(sides, RIVALS[0], way):.1f}" for way in names if way != RIVALS[0]]
    return {
        "longest_cut": f"{net} at {keep:.0%}",
        "longest_pictures": f"{images:,}",
        "longest": ", ".join(each),
        "longest_gaps": ", ".join(gaps),
        **{f"weights_{name}": _weights(net, keep, way) for name, way in (("ours", CURVES), ("plain", WITHOUT))},
    }


def _weights(net: str, keep: float, way: str) -> str:
    """How long the filters are before tuning, of the dense network's."""
    found = newest("compensation_tuning", KEY, net=net, keep=keep, way=way, images=0)
    return f"{mean(row['weights'] for row in found):.2f}"


def average_and_least(gaps: Sequence[Difference]) -> str:
    """Their average and the least; whether any network is behind beyond its interval."""
    behind = sum(of.verdict == "worse" for of in gaps)
    least = f"least {min(of.mean for of in gaps):+.1f}" + (f", {behind} significantly behind" if behind else "")
    return f"{mean(of.mean for of in gaps):+.1f} ({least})"


def averages(contests: Mapping[Place, Sides]) -> str:
    """The mean gap for each number of pictures, over networks and shares."""
    told = []
    for images in sorted({place[2] for place in contests}):
        gaps = [gap(sides).mean for place, sides in contests.items() if place[2] == images]
        told.append(f"{mean(gaps):+.1f} points with {images:,} pictures ({len(gaps)} cuts)")
    return "On average ours is ahead by " + ", ".join(told) + "."
