"""Which widths, which channels: contests of trained networks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import product
from statistics import mean

import numpy as np
from results_file import Difference, paired
from scipy.stats import spearmanr

from sections.rows import Row, newest, table

CONTEST = ("net", "keep", "seed", "images")
NAMES = {
    "resnet20": "ResNet-20",
    "resnet56": "ResNet-56",
    "vgg16": "VGG-16, half width",
    "densenet40": "DenseNet-40",
}
DEFAULT, MEASURED = "p=-1", "p=-1 curves and layers"
WITH_READERS = ("both alike, readers", "capacity and independence, readers")
CRITERIA = (
    *WITH_READERS,
    "independence, readers",
    "capacity and independence",
    "capacity",
    "independence",
    "energy",
    "HSIC",
)
SHORT, LONG = 3_200, 12_800  # pictures of tuning
OTHERS = ("uniform ratio", "projection", "host global L1", "host isomorphic L1")


def fields() -> dict[str, str]:
    widths, criteria = (
        newest(name, (*CONTEST, by)) for name, by in (("allocations", "way"), ("criteria", "criterion"))
    )
    short = [r for r in widths if r["images"] == SHORT]
    long = [r for r in widths if r["images"] == LONG]
    return {
        "dense": dense(),
        "widths": contest_table(long, "way"),
        "widths_short": contest_table(short, "way"),
        "widths_gaps": gaps(long, "way", (DEFAULT, MEASURED), OTHERS),
        "widths_average": averages(long),
        "widths_votes": votes(long),
        **{f"measured_{100 * keep:.0f}": ahead(long, keep) for keep in (0.25, 0.1)},
        "landscape": landscape(),
        **criteria_after("short", SHORT, criteria),
        **criteria_after("long", LONG, criteria),
        "criteria_average": criteria_average(criteria),
    }


def criteria_after(tuning: str, images: int, found: Sequence[Row]) -> dict[str, str]:
    """What every criterion came to after that much tuning, and ours against random channels and L1."""
    here = [r for r in found if r["images"] == images]
    return {
        f"criteria_{tuning}": contest_table(here, "criterion"),
        f"criteria_{tuning}_gaps": gaps(here, "criterion", CRITERIA, ("random", "L1")),
    }


def criteria_average(found: Sequence[Row]) -> str:
    """Ours with readers minus others, over all networks and budgets; each network, budget and seed is one pair."""
    lines = []
    for one, other in product(WITH_READERS, ("random", "L1", "capacity and independence")):
        at = [gap(found, "criterion", one, other, lambda r, n=images: r["images"] == n) for images in (SHORT, LONG)]
        lines.append((f"{one} - {other}", *(f"{g:.1f}" if g else "-" for g in at)))
    return table(("", "short tuning", "long tuning"), lines, "lrr")


def dense() -> str:
    found = [row for row in newest("dense_digits", ("net",)) if row["net"] in NAMES]
    return "; ".join(f"{NAMES[row['net']]} {100 * row['accuracy']:.1f} %" for row in found)


def setting(row: Row) -> tuple[str, float]:
    return row["net"], row["keep"]


def settings(found: Sequence[Row]) -> list[tuple[str, float]]:
    """Networks in the order of NAMES, large budgets first."""
    return sorted({setting(r) for r in found}, key=lambda s: (list(NAMES).index(s[0]), -s[1]))


def contest_table(found: Sequence[Row], by: str) -> str:
    """Mean accuracy after tuning, and before it, of everything that competed, what did so most often first."""
    columns = settings(found)
    entered = Counter(name for name, _ in {(r[by], setting(r)) for r in found})
    names = sorted(dict.fromkeys(r[by] for r in found), key=lambda name: -entered[name])
    lines = [(name, *(cell(found, by, name, column) for column in columns)) for name in names]
    return table(("", *(f"{NAMES[net]}, {100 * keep:.0f} %" for net, keep in columns)), lines, "l" + "r" * len(columns))


def cell(found: Sequence[Row], by: str, name: str, column: tuple[str, float]) -> str:
    here = [r for r in found if r[by] == name and setting(r) == column]
    if not here:
        return "-"
    after, before = (100 * mean(r[when] for r in here) for when in ("after", "before"))
    return f"{after:.1f} ({before:.1f})" + (f", n = {len(here)}" if len(here) < most_seeds(found, column) else "")


def most_seeds(found: Sequence[Row], column: tuple[str, float]) -> int:
    return len({r["seed"] for r in found if setting(r) == column})


def by_seed(found: Sequence[Row], by: str, name: str, wanted: Callable[[Row], bool]) -> dict:
    return {(*setting(r), r["seed"]): 100 * r["after"] for r in found if r[by] == name and wanted(r)}


def gap(found: Sequence[Row], by: str, ours: str, theirs: str, wanted: Callable[[Row], bool]) -> Difference | None:
    first, second = (by_seed(found, by, name, wanted) for name in (ours, theirs))
    return paired(first, second) if len(first.keys() & second.keys()) > 1 else None


def gaps(found: Sequence[Row], by: str, ours: Sequence[str], theirs: Sequence[str]) -> str:
    """Ours minus theirs after tuning, paired by seed."""
    columns = settings(found)
    lines = []
    for one in ours:
        for other in theirs:
            at = [gap(found, by, one, other, lambda r, c=column: setting(r) == c) for column in columns]
            if any(at):
                lines.append((f"{one} - {other}", *(f"{g:.1f}" if g else "-" for g in at)))
    return table(("", *(f"{NAMES[net]}, {100 * keep:.0f} %" for net, keep in columns)), lines, "l" + "r" * len(columns))


def ahead(found: Sequence[Row], keep: float) -> str:
    """Measured widths over the uniform ratio and over the host's rankings at a budget, over all networks."""
    at = {other: gap(found, "way", MEASURED, other, lambda r: r["keep"] == keep) for other in OTHERS}
    return ", ".join(f"{other} {of:.1f}" for other, of in at.items() if of)


def averages(found: Sequence[Row]) -> str:
    """Ours minus theirs over all networks of a budget, each network and seed one pair."""
    keeps = sorted({r["keep"] for r in found if r["way"] in OTHERS}, reverse=True)
    lines = []
    for one in (DEFAULT, MEASURED):
        for other in OTHERS:
            at = [gap(found, "way", one, other, lambda r, k=keep: r["keep"] == k) for keep in keeps]
            lines.append((f"{one} - {other}", *(f"{g:.1f}" if g else "-" for g in at)))
    return table(("", *(f"{100 * keep:.0f} % of the MACs" for keep in keeps)), lines, "l" + "r" * len(keeps))


def votes(found: Sequence[Row]) -> str:
    """Measured widths minus others where every network counts once, at the budgets of the long contest."""
    lines = []
    for other in OTHERS:
        at = [mean_of_networks(found, other, keep) for keep in (0.25, 0.1)]
        lines.append((f"{MEASURED} - {other}", *at))
    return table(("", "25 % of the MACs", "10 % of the MACs"), lines, "lrr")


def mean_of_networks(found: Sequence[Row], other: str, keep: float) -> str:
    """The mean over networks of the mean over their seeds, and how many networks there are."""
    means = []
    for net in NAMES:
        here = [r for r in found if setting(r) == (net, keep)]
        first, second = (by_seed(here, "way", name, lambda _: True) for name in (MEASURED, other))
        if both := first.keys() & second.keys():
            means.append(mean(first[key] - second[key] for key in both))
    return f"{mean(means):+.1f} ({len(means)})" if means else "-"


def landscape() -> str:
    """A table a network."""
    found = newest("allocation_landscape", ("net", "keep", "draw", "images"))
    nets = dict.fromkeys(r["net"] for r in found)
    return "\n\n".join(landscape_of(net, [r for r in found if r["net"] == net]) for net in nets)


def landscape_of(net: str, found: Sequence[Row]) -> str:
    """Rank correlation with accuracy after tuning over random widths, a line a layer importance, a column a utility."""
    after = [r["after"] for r in found]
    lines = [
        (name, *(f"{spearmanr([r['utilities'][name][i] for r in found], after)[0]:+.2f}" for i in range(5)))
        for name in found[0]["utilities"]
    ]
    lines.append(("accuracy before tuning", f"{spearmanr([r['before'] for r in found], after)[0]:+.2f}", *["-"] * 4))
    spread = f"{100 * np.mean(after):.1f} ± {100 * np.std(after):.1f} %"
    head = (f"{NAMES[net]}, {len(found)} draws, {spread}", *(f"p = {p:g}" for p in (1, 0, -0.5, -1, -2)))
    return table(head, lines, "lrrrrr")
