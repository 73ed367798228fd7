"""What networks say before and after compensation, and what that costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean

from results_file import interval, paired

from sections.rows import Row, newest, table

STOCK = ("stock l1", "stock isomorphic")
HOW = ("none", "mean shift", "norms anew", "norms relative", "ours")
KEY = ("case", "way", "allocation", "draw", "samples", "compensation")


def fields() -> dict[str, str]:
    found, costs = newest("compensation", KEY), newest("compensation_cost", ("net", "pictures"))
    cut = [row for row in found if "unharmed" not in row]
    small = [row for row in cut if set(row["after"]) == {"top1"}]
    return {
        "unharmed": unharmed([row for row in found if "unharmed" in row]),
        "saliency": compared([r for r in cut if "iou" in r["after"]], "iou"),
        "pretrained": pretrained([r for r in cut if "alike" in r["after"]]),
        "digits": compared(small, "top1"),
        "rivals": rivals([r for r in small if r["allocation"] != "curves"]),
        "curves": by_curves([r for r in small if (r["way"], r["compensation"]) == ("conditional", "ours")]),
        "cost": table(
            ("network", "pictures", "times the forward passes", "MiB", "MiB of the forward passes"),
            [
                (r["net"], r["pictures"], f"{r['times_forward']:.1f}", f"{r['mib']:,.0f}", f"{r['forward_mib']:,.0f}")
                for r in sorted(costs, key=lambda r: (r["net"], r["pictures"]))
                if not r.get("channels")  # those are grown beside each other
            ],
            "lrrrr",
        ),
    }


def unharmed(rows: Sequence[Row]) -> str:
    """Which networks that lost nothing came out bit for bit."""
    assert rows
    if not all(row["unharmed"] and row["after"] == row["dense"] for row in rows):
        return "**not** every network that lost nothing came out as it was"
    return f"Networks that lost nothing ({len(rows)} so far) came out bit for bit as they were"


def compared(rows: Sequence[Row], what: str) -> str:
    """A line for each cut and choice of units, a column for each way to make up."""
    columns = [how for how in HOW if any(row["compensation"] == how for row in rows)]
    lines = []
    for key in dict.fromkeys(map(compared_as, rows)):
        here = [r for r in rows if compared_as(r) == key]
        cells = [cell([figure(r["after"], what) for r in here if r["compensation"] == how], what) for how in columns]
        lines.append((*key, *cells, cell([figure(here[0]["dense"], what)], what)))
    header = ("network and MACs that stay", "units chosen by", "widths", "pictures", *columns, "dense")
    return table(header, lines, "lll" + "r" * (len(columns) + 2))


def pretrained(rows: Sequence[Row]) -> str:
    """A line for each cut, choice of units and way to make up, with all that such a network is judged by."""
    found: dict[tuple[str, str, str, str], list[Row]] = {}
    for row in rows:
        found.setdefault((row["case"], row["way"], row["allocation"], row["compensation"]), []).append(row)
    judged = ("agreement", "kl", "top1", "apart")
    lines = [
        (*key, len(draws), *(cell([figure(r["after"], what) for r in draws], what) for what in judged))
        for key, draws in sorted(found.items())
    ]
    for case in dict.fromkeys(row["case"].partition(",")[0] for row in rows):
        dense = next(row["dense"] for row in rows if row["case"].startswith(f"{case},"))
        lines.append((f"{case}, dense", "", "", "", "", *(cell([figure(dense, what)], what) for what in judged)))
    header = ("network and MACs that stay", "units chosen by", "widths", "made up by", "draws")
    return table((*header, "agreement", "KL", "top-1", "agreement on other things"), lines, "llllrrrrr")


def rivals(rows: Sequence[Row]) -> str:
    """By how much our choice and refit is ahead of the best stock ranking with norms anew, and of L1 refitted too."""
    stock, refitted = [], []
    for case in dict.fromkeys(row["case"] for row in rows):
        here = {(r["way"], r["compensation"], r["draw"]): 100 * r["after"]["top1"] for r in rows if r["case"] == case}
        ours = of(here, "conditional", "ours")
        stock.append(min(mean(ours.values()) - mean(of(here, way, "norms anew").values()) for way in STOCK))
        refitted.append(mean(ours.values()) - mean(of(here, "l1", "ours").values()))
    return (
        "Units by what the others cannot make up for, refitted, are ahead of the better stock ranking with norms anew "
        f"by {min(stock):.1f} to {max(stock):.1f} points, {mean(stock):.1f} on average over {len(stock)} cuts, and "
        "of L1 with widths by the same rule, refitted as well, by "
        f"{min(refitted):+.1f} to {max(refitted):+.1f}, {mean(refitted):+.1f} on average."
    )


def by_curves(rows: Sequence[Row]) -> str:
    """By how many points widths by measured curves are ahead of the default ones, cut by cut."""
    told, gaps = [], []
    for case in dict.fromkeys(row["case"] for row in rows if row["allocation"] == "curves"):
        curves, default = (
            {r["draw"]: 100 * r["after"]["top1"] for r in rows if (r["case"], r["allocation"]) == (case, widths)}
            for widths in ("curves", "default")
        )
        gap = paired(curves, default)
        gaps.append(gap.mean)
        told.append(f"{case} {gap:.1f}")
    return f"{mean(gaps):+.1f} on average ({'; '.join(told)})"


def of(here: Mapping[tuple[str, str, int], float], way: str, how: str) -> dict[int, float]:
    """The accuracy of each draw."""
    return {draw: value for (one, other, draw), value in here.items() if (one, other) == (way, how)}


def compared_as(row: Row) -> tuple[str, str, str, int]:
    return row["case"], row["way"], row["allocation"], row["samples"]


def figure(judged: Row, what: str) -> float:
    if what in ("agreement", "kl"):
        return judged["alike"][what]
    return judged["apart"]["agreement"] if what == "apart" else judged[what]


def cell(values: Sequence[float], what: str) -> str:
    """Their mean, in percent or plain, with its interval where there are several draws."""
    if not values:
        return ""
    scale, form = (1, ".3f") if what in ("iou", "kl") else (100, ".1f")
    told = f"{scale * mean(values):{form}}"
    if len(values) < 2:
        return told
    low, high = (scale * end for end in interval(values))
    return f"{told} ({low:{form}} to {high:{form}})"
