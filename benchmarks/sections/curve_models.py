"""Which account of what widths cost is right on networks that did not choose it, and which tells widths apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from math import exp, log
from statistics import mean

import numpy as np
from results_file import Difference, paired
from scipy.stats import rankdata, spearmanr

from sections.rows import Row, newest, table

KEY = ("part", "net", "keep", "draw", "weights", "utility")
Setting = tuple[str, float | None]
DEFAULT, RECIPES, UNIFORM = ("layers", -1.0), ("curves, trust 0.5", -1.0), ("uniform ratio", None)
SHOWN = tuple(f"{weights}, p = -1" for weights in ("layers", "curves, trust 0.5", "elimination, trust 1"))
SUMS = ("elimination as it is", "alone", "with pairs", "at the end")
MEASURES = ("divergence", "agreement")
FREE = ("elimination, trust 0.5", -1.0)
Cells = dict[tuple[str, float, int], dict[Setting, Row]]
Choice = Callable[[str], Setting]  # a network's setting


def fields() -> dict[str, str]:
    found = newest("curve_models", KEY)
    cut = [row for row in found if row["part"] == "direct" and row["keep"] < 1]
    cells, tried = whole_cells(in_cells(cut)), [row for row in found if row["part"] == "near"]
    logs = by_network(cells, lambda row: log(row["kl"]))
    held_out = {net: best_elsewhere(logs, net) for net in logs}
    by_rank = {net: best_elsewhere(ranks(cells), net) for net in logs}
    return {
        "nets": " ".join(dict.fromkeys(net for net, *_ in cells)),
        "settings": str(len({(row["weights"], row["utility"]) for row in cut})),
        "unharmed": unharmed([row for row in found if row["keep"] == 1]),
        "table": short(cells, held_out),
        "chosen": told_choices(held_out),
        "chosen_by_rank": told_choices(by_rank),
        "gaps": gaps(cells, held_out),
        "verdict": verdict(cells, held_out.__getitem__, lambda net: DEFAULT),
        "recipes": verdict(cells, lambda net: RECIPES, lambda net: DEFAULT),
        "free": verdict(cells, lambda net: FREE, lambda net: DEFAULT),
        "draws": " ".join(str(draw) for draw in sorted({draw for *_, draw in cells})),
        "ahead": ahead(logs),
        "everywhere": str(len(settings_of(cells))),
        "everything": everything(cut, ranks(cells)),
        "near_nets": " ".join(dict.fromkeys(row["net"] for row in tried)),
        "near": accounts(tried, [*SHOWN, *SUMS]),
        "near_everything": accounts(tried, list(tried[0]["said"])),
        "pairs": pairs(tried),
        "led": led(tried),
    }


# ---------------------------------------------------------------------------------------------------------- direct


def in_cells(rows: Sequence[Row]) -> Cells:
    cells: Cells = {}
    for row in rows:
        cells.setdefault((row["net"], row["keep"], row["draw"]), {})[row["weights"], row["utility"]] = row
    return cells


def whole_cells(cells: Cells) -> Cells:
    """Network, budget and draw with the rows of all settings that every network has; hardly begun ones are left out."""
    most = max(map(len, cells.values()))
    fullest = {net: max((c for c in cells if c[0] == net), key=lambda c: len(cells[c])) for net, *_ in cells}
    begun = {net: cells[cell] for net, cell in fullest.items() if len(cells[cell]) > most / 2}
    common = [setting for setting in cells[next(iter(cells))] if all(setting in of for of in begun.values())]
    return {cell: {s: of[s] for s in common} for cell, of in cells.items() if set(common) <= of.keys()}


def settings_of(cells: Cells) -> list[Setting]:
    return list(next(iter(cells.values())))


def by_network(cells: Cells, figure: Callable[[Row], float]) -> dict[str, dict[Setting, float]]:
    """network -> setting -> the mean over budgets and draws."""
    return {
        net: {s: mean(figure(of[s]) for (name, *_), of in cells.items() if name == net) for s in settings_of(cells)}
        for net in dict.fromkeys(net for net, *_ in cells)
    }


def ranks(cells: Cells) -> dict[str, dict[Setting, float]]:
    """As `by_network`, of the place by divergence among all settings; 1 is the best."""
    placed: dict[str, list[dict[Setting, float]]] = {}
    for (net, *_), of in cells.items():
        places = rankdata([row["kl"] for row in of.values()])
        placed.setdefault(net, []).append(dict(zip(of, places.tolist(), strict=True)))
    return {net: {s: mean(one[s] for one in many) for s in many[0]} for net, many in placed.items()}


def best_elsewhere(told: Mapping[str, Mapping[Setting, float]], left_out: str) -> Setting:
    """The setting with the least mean over the other networks."""
    others = [of for net, of in told.items() if net != left_out]
    return min(others[0], key=lambda setting: mean(of[setting] for of in others))


def named(setting: Setting) -> str:
    weights, utility = setting
    return weights if utility is None else f"{weights}, p = {utility:g}"


def told_choices(chosen: Mapping[str, Setting]) -> str:
    counted = Counter(map(named, chosen.values())).most_common()
    return "; ".join(f"{name} ({times} of {len(chosen)})" for name, times in counted)


def short(cells: Cells, held_out: Mapping[str, Setting]) -> str:
    lines = []
    for net, keep in dict.fromkeys((net, keep) for net, keep, _ in cells):
        here = [of for (name, kept, _), of in cells.items() if (name, kept) == (net, keep)]
        kl = {s: mean(of[s]["kl"] for of in here) for s in settings_of(cells)}
        best, choice = min(kl, key=lambda s: kl[s]), held_out[net]
        cells_shown = [f"{kl[s]:.4f}" for s in (UNIFORM, DEFAULT, RECIPES)]
        lines.append(
            (net, f"{keep:.0%}", len(here), *cells_shown, f"{kl[choice]:.4f}", f"{kl[best]:.4f} ({named(best)})")
        )
    header = ("network", "MACs", "draws", named(UNIFORM), "default", "recipes'", "best elsewhere", "best here")
    return table(header, lines, "lrrrrrrl")


def compared(cells: Cells, ours: Choice, theirs: Choice) -> tuple[Difference, Difference]:
    """One way to set things against another, over networks: log divergence and agreement, both better if positive."""
    logs = by_network(cells, lambda row: log(row["kl"]))
    alike = by_network(cells, lambda row: 100 * row["agreement"])
    sides = [[{net: of[net][side(net)] for net in of} for side in (ours, theirs)] for of in (logs, alike)]
    return paired(*sides[0], better="lower"), paired(*sides[1])


def gaps(cells: Cells, held_out: Mapping[str, Setting]) -> str:
    ways: dict[str, Choice] = {"best elsewhere": held_out.__getitem__}
    ways |= {named(FREE): lambda net: FREE, "the recipes' setting": lambda net: RECIPES}
    ways |= {"the default": lambda net: DEFAULT, "the uniform ratio": lambda net: UNIFORM}
    lines = []
    for ours, theirs in combinations(ways, 2):
        divergence, alike = compared(cells, ways[ours], ways[theirs])
        lines.append((ours, theirs, percent(divergence), f"{alike:.1f}"))
    header = ("this", "beside", "divergence lower by, %", "agreement ahead by, points")
    return table(header, lines, "llrr")


def percent(gap: Difference) -> str:
    """A difference of logarithms, positive where ours is lower, as a part of theirs."""
    told = [100 * (1 - exp(-of)) for of in (gap.mean, gap.low, gap.high)]
    bold = "**" if gap.verdict != "no difference shown" else ""
    return f"{bold}{told[0]:+.1f}{bold} ({told[1]:+.1f} to {told[2]:+.1f})"


def verdict(cells: Cells, ours: Choice, theirs: Choice) -> str:
    """What two measures say, as the end of a sentence about ours."""
    told = [gap.verdict for gap in compared(cells, ours, theirs)]
    for word in ("better", "worse"):
        if word in told:
            return f"is {word} by " + " and ".join(m for m, of in zip(MEASURES, told, strict=True) if of == word)
    return "is not shown to be better or worse"


def ahead(logs: Mapping[str, Mapping[Setting, float]]) -> str:
    """On how many networks the recipes' setting diverges less than the default."""
    return f"{sum(of[RECIPES] < of[DEFAULT] for of in logs.values())} of {len(logs)}"


def everything(rows: Sequence[Row], placed: Mapping[str, Mapping[Setting, float]]) -> str:
    """Each setting's divergence as a multiple of the default's, network by network, and its mean place."""
    times: dict[str, dict[Setting, list[float]]] = {}
    for (net, *_), of in in_cells(rows).items():
        for setting, row in of.items() if DEFAULT in of and net in placed else ():
            times.setdefault(net, {}).setdefault(setting, []).append(log(row["kl"] / of[DEFAULT]["kl"]))
    shown, settings = list(times), {setting for of in times.values() for setting in of}
    means = {s: [mean(times[net][s]) for net in shown if s in times[net]] for s in settings}
    lines = []
    for setting in sorted(means, key=lambda s: (-len(means[s]), mean(means[s]))):
        cells_shown = [f"{exp(mean(times[net][setting])):.2f}" if setting in times[net] else "" for net in shown]
        full = len(means[setting]) == len(shown)
        place = f"{mean(of[setting] for of in placed.values()):.1f}" if setting in placed[shown[0]] else ""
        lines.append((named(setting), *cells_shown, f"{exp(mean(means[setting])):.2f}" if full else "", place))
    return table(("setting", *shown, "all", "mean place"), lines, "l" + "r" * (len(shown) + 2))


def unharmed(rows: Sequence[Row]) -> str:
    assert rows
    if not all(row["unharmed"] and not row["kl"] for row in rows):
        return "**Not** every whole network came out of the same steps as it was"
    return f"Whole networks ({len({row['net'] for row in rows})} of them) came out of the same steps bit for bit"


# ------------------------------------------------------------------------------------------------------------ near


def correlation(row: Row, account: str) -> float:
    return float(spearmanr(row["said"][account], row["kl"])[0])


def regret(row: Row, account: str) -> float:
    """By what part the account's first choice diverges more than the best of all."""
    return 100 * (row["kl"][int(np.argmin(row["said"][account]))] / min(row["kl"]) - 1)


def accounts(rows: Sequence[Row], names: Sequence[str]) -> str:
    lines = []
    for name in names:
        told = [correlation(row, name) for row in rows]
        lost = [regret(row, name) for row in rows]
        lines.append((name, *(f"{of:.2f}" for of in told), f"{mean(told):.2f}", f"{mean(lost):.0f}"))
    blind = mean(100 * (mean(row["kl"]) / min(row["kl"]) - 1) for row in rows)
    lines.append(("none, taken at random", *("0.00" for _ in rows), "0.00", f"{blind:.0f}"))
    heads = [f"{row['net']}, {row['keep']:.0%}" for row in rows]
    return table(("account", *heads, "mean", "regret, %"), lines, "l" + "r" * (len(rows) + 2))


def pairs(rows: Sequence[Row]) -> str:
    """What interactions of pairs add to sites alone, and what measuring them took."""
    gains = [f"{correlation(row, 'with pairs') - correlation(row, 'alone'):+.2f}" for row in rows]
    spent = [mean(row["scaling_cpu_s"][name] for row in rows) for name in ("alone", "pairs", "at the end")]
    times = "{:.0f}, {:.0f} and {:.0f} s of CPU".format(*spent)
    worth = "are not worth" if all(float(gain) <= 0 for gain in gains) else "may be worth"
    added = (
        f"Interactions of pairs **{worth} measuring**: they add {', '.join(gains)} to the correlation of sites alone"
    )
    return f"{added}; measuring sites alone, pairs and end points took {times}"


def led(rows: Sequence[Row]) -> str:
    """What becomes of widths that make the most of scaled sums."""
    told = []
    for name in rows[0]["led"]:
        gains = [f"{100 * (1 - row['led'][name] / row['end']):+.0f} %" for row in rows]
        told.append(f"{name} {', '.join(gains)}")
    return "; ".join(told)
