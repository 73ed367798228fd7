"""Which units, where all widths are equal: every importance beside L1, with and without compensation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from statistics import mean
from typing import Any

from results_file import Difference, paired

from sections.compensation import KEY as PLACE
from sections.compensation import cell, figure
from sections.rows import Row, newest, table
from sections.tuning import best

KEY = ("net", "keep", "importance", "draw", "samples", "compensation", "images", "rate")
SIDES = ("plain", "compensated")
FIRST, AGAINST, GOAL = "conditional", "L1", 1.0  # points
Cut = tuple[str, float]
VIT = "vit, heads and MLPs, 50 %"  # in the rows of compensation, with the same rates, pictures and steps
NAMES = {"conditional": "conditional", "l1": "L1"}
Regime = tuple[int, str]  # pictures of tuning, side
Draws = Mapping[Any, float]


def fields() -> dict[str, str]:
    found = [*newest("importances", KEY), *of_compensation()]
    cut = [row for row in found if row["keep"] < 1]
    digits = [row for row in cut if set(row["after"]) == {"top1"}]
    widest = [row for row in cut if row["images"] == 0 and set(row["after"]) != {"top1"}]
    return {
        "rates": told_rates(digits),
        "average": average(digits),
        "cuts": by_cut(cut),
        "verdict": verdict(cut, digits),
        "leaders": leaders(cut),
        "lamp": same_as_l2(digits),
        "rows": row_by_row(digits),
        "mobilenet": of_one(widest, "mobilenetv2", ("agreement", "kl", "top1", "apart")),
        "vit": of_one(widest, "vit", ("iou",)),
        "uncut": uncut([row for row in found if row["keep"] == 1]),
    }


def of_compensation() -> list[Row]:
    """The ViT's rows that are measured there."""
    here = [row for row in newest("compensation", PLACE, case=VIT) if row["compensation"] in ("none", "ours")]
    about = {"net": "vit", "keep": 0.5, "images": 0, "rate": 0.0}
    return [{**row, **about, "importance": NAMES[row["way"]]} for row in here if row["way"] in NAMES]


# ------------------------------------------------------------------------------------------------- what is compared


def side(row: Row) -> str:
    return SIDES[row["compensation"] == "ours"]


def regimes(found: Sequence[Row]) -> list[Regime]:
    return [(images, one) for images in sorted({row["images"] for row in found}) for one in SIDES]


def titles(found: Sequence[Row]) -> list[str]:
    return [f"{f'{images:,} pictures' if images else 'untrained'}, {one}" for images, one in regimes(found)]


def cuts(found: Sequence[Row]) -> list[Cut]:
    return list(dict.fromkeys((row["net"], row["keep"]) for row in found))


def importances(found: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys([FIRST, AGAINST, *(row["importance"] for row in found)]))


def judged(row: Row) -> float:
    """In percent: accuracy, agreement with the dense network on other pictures, or overlap of masks."""
    after = row["after"]
    return 100 * figure(after, "iou" if "iou" in after else "agreement" if "alike" in after else "top1")


def draws_of(found: Sequence[Row], cut: Cut, name: str, regime: Regime) -> tuple[float, dict[int, float]]:
    """The best rate, and what each draw came to there."""
    rates: dict[float, dict[int, float]] = {}
    for row in found:
        if ((row["net"], row["keep"]), row["importance"], (row["images"], side(row))) == (cut, name, regime):
            rates.setdefault(row["rate"], {})[row["draw"]] = judged(row)
    return best(rates) if rates else (0.0, {})


def everywhere(found: Sequence[Row], name: str, regime: Regime) -> Draws:
    """Every draw of every cut."""
    return {(cut, n): of for cut in cuts(found) for n, of in draws_of(found, cut, name, regime)[1].items()}


def gap(ours: Draws, theirs: Draws) -> Difference | float | None:
    """Paired by draw; a single pair has no interval."""
    common = ours.keys() & theirs.keys()
    if len(common) > 1:
        return paired(ours, theirs)
    return next((ours[key] - theirs[key] for key in common), None)


def shown(of: Difference | float | None) -> str:
    return "" if of is None else f"{of:.1f}" if isinstance(of, Difference) else f"{of:+.1f}"


# ---------------------------------------------------------------------------------------------------------- tables


def told_rates(digits: Sequence[Row]) -> str:
    """Rates that most draws were tuned at."""
    told = []
    for images in sorted({row["images"] for row in digits} - {0}):
        rates = sorted({row["rate"] for row in digits if row["images"] == images}, reverse=True)
        told.append(f"{' and '.join(f'{rate:g}' for rate in rates)} with {images:,} pictures")
    return ", ".join(told)


def average(digits: Sequence[Row]) -> str:
    """Each importance minus L1 over all cuts of digits, and what L1 itself comes to."""
    columns = regimes(digits)
    lines = []
    for name in importances(digits):
        at = [(everywhere(digits, name, regime), everywhere(digits, AGAINST, regime)) for regime in columns]
        if name != AGAINST:
            lines.append((name, *(shown(gap(ours, theirs)) + of_some(ours, theirs) for ours, theirs in at)))
    means = [
        [mean(draws.values()) for cut in cuts(digits) if (draws := draws_of(digits, cut, AGAINST, regime)[1])]
        for regime in columns
    ]
    lines.append((f"{AGAINST} itself, %", *(f"{mean(of):.1f} ({len(of)} cuts)" if of else "" for of in means)))
    return table((f"minus {AGAINST}", *titles(digits)), lines, "l" + "r" * len(columns))


def of_some(ours: Draws, theirs: Draws) -> str:
    """How many cuts were compared, where not all were."""
    met, all_cuts = ({cut for cut, _ in keys} for keys in (ours.keys() & theirs.keys(), theirs))
    return f", {len(met)} cuts" if met and len(met) < len(all_cuts) else ""


def by_cut(found: Sequence[Row]) -> str:
    columns = regimes(found)
    lines = [
        (net, f"{keep:.0%}", *(shown(ahead(found, (net, keep), regime)) for regime in columns))
        for net, keep in cuts(found)
    ]
    return table(("network", "MACs", *titles(found)), lines, "l" + "r" * (len(columns) + 1))


def ahead(found: Sequence[Row], cut: Cut, regime: Regime) -> Difference | float | None:
    ours, theirs = (draws_of(found, cut, name, regime)[1] for name in (FIRST, AGAINST))
    return gap(ours, theirs)


def verdict(found: Sequence[Row], digits: Sequence[Row]) -> str:
    """Regime by regime: the mean over cuts of digits, on how many of all a point ahead, and where behind for sure."""
    told = []
    for regime, title in zip(regimes(found), titles(found), strict=True):
        gaps = {cut: of for cut in cuts(found) if (of := ahead(found, cut, regime)) is not None}
        means = {cut: of.mean if isinstance(of, Difference) else of for cut, of in gaps.items()}
        behind = [f"{n} at {k:.0%}" for (n, k), of in gaps.items() if isinstance(of, Difference) and of.high < 0]
        over = mean(means[cut] for cut in cuts(digits) if cut in means)
        enough = "at least" if over >= GOAL else "**short of**"
        told.append(
            f"- {title}: {over:+.1f} points of accuracy on average over digits, {enough} the {GOAL:g} that was asked; "
            f"so far ahead on {sum(of >= GOAL for of in means.values())} of {len(means)} cuts of all networks, "
            f"behind beyond doubt on {', '.join(behind) or 'none'}"
        )
    return "\n".join(told)


def leaders(found: Sequence[Row]) -> str:
    """The best on every cut with more than two, untrained and compensated, by the first draw, which all share."""
    told = []
    for cut in cuts(found):
        draws = {name: draws_of(found, cut, name, (0, SIDES[1]))[1] for name in importances(found)}
        first = {name: of[0] for name, of in draws.items() if 0 in of}
        if len(first) < 3:
            continue
        best_of = max(first, key=lambda name: first[name])
        beside = "" if best_of == FIRST else f" ({FIRST} {first[FIRST]:.1f})"
        told.append(f"{cut[0]} at {cut[1]:.0%} {best_of} {first[best_of]:.1f}{beside}")
    return ", ".join(told)


def same_as_l2(digits: Sequence[Row]) -> str:
    """How often LAMP came to the very accuracy of L2."""
    about = ("net", "keep", "draw", "compensation", "images", "rate")
    lamp, squares = (
        {tuple(row[of] for of in about): judged(row) for row in digits if row["importance"] == name}
        for name in ("LAMP", "L2")
    )
    common = lamp.keys() & squares.keys()
    return f"{sum(lamp[key] == squares[key] for key in common)} of {len(common)}"


def row_by_row(digits: Sequence[Row]) -> str:
    """What every importance came to, with the rate that was best for it."""
    columns = regimes(digits)
    lines = []
    for cut, name in product(cuts(digits), importances(digits)):
        cells = [draws_of(digits, cut, name, regime) for regime in columns]
        if any(draws for _, draws in cells):
            lines.append((cut[0], f"{cut[1]:.0%}", name, *(accuracy(rate, draws) for rate, draws in cells)))
    return table(("network", "MACs", "units by", *titles(digits)), lines, "lrl" + "r" * len(columns))


def accuracy(rate: float, draws: Mapping[int, float]) -> str:
    if not draws:
        return ""
    return f"{mean(draws.values()):.1f} (n = {len(draws)}{f', rate {rate:g}' if rate else ''})"


def of_one(found: Sequence[Row], net: str, what: Sequence[str]) -> str:
    """A line for each importance, a column for each figure without refit and with it."""
    here = [row for row in found if row["net"] == net]
    names = {"kl": "KL", "iou": "mask IoU", "top1": "top-1", "apart": "agreement on other things"}
    lines = []
    for name in importances(here):
        values = [
            [figure(r["after"], of) for r in here if (r["importance"], side(r)) == (name, one)]
            for one, of in product(SIDES, what)
        ]
        kinds = [of for _, of in product(SIDES, what)]
        lines.append((name, max(map(len, values)), *(cell(v, of) for v, of in zip(values, kinds, strict=True))))
    head = [f"{names.get(of, of)}, {one}" for one, of in product(SIDES, what)]
    return table(("units by", "draws", *head), lines, "l" + "r" * (len(head) + 1))


def uncut(found: Sequence[Row]) -> str:
    """What the steps alone do to a network of which nothing left: first as it was, then at each regime's best rate."""
    told = []
    for net in dict.fromkeys(row["net"] for row in found):
        here = [row for row in found if row["net"] == net]
        dense = judged({"after": here[0]["dense"]})
        steps = {
            title: max(judged(r) for r in here if (r["images"], side(r)) == regime)
            for regime, title in zip(regimes(here), titles(here), strict=True)
        }
        told.append(f"{net} {dense:.1f} ({'; '.join(f'{title} {of:.1f}' for title, of in steps.items())})")
    return ", ".join(told)
