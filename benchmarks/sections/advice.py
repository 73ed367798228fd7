"""What to use with how much data, and the figure that says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean

from pareto_rows import DIGITS

from sections import compensation, contest, decoder, family, product, recovery, tuning
from sections.rows import Row, newest

HALF_A_VIT = "vit, heads and MLPs, 50 %"
BARE = 0.2  # an accuracy below this is near chance among ten classes


def fields() -> dict[str, str]:
    whole, cuts = tuning.beside_rivals(), tuning.cuts()
    return {
        **bare(newest("compensation", compensation.KEY, compensation="none")),
        **ahead("untrained", {place: sides for place, sides in whole.items() if place[2] == 0}),
        **ahead("few", {place: sides for place, sides in whole.items() if place[2] == 1_280}),
        **ahead("many", {place: sides for place, sides in whole.items() if place[2] == 12_800}),
        **ahead("some", {place: sides for place, sides in whole.items() if place[2] == 3_200}),
        "some_refit": f"{mean(tuning.gap(sides).mean for place, sides in cuts.items() if place[2] == 3_200):+.1f}",
        **longest(whole),
        **pretrained(),
        **distilled("distilled", "mobilenetv2"),
        **distilled("distilled_lite", "lite0"),
        **long(),
        **taught(),
        "decoder": decoder.ratio("conditional"),
        "family": family.share(1),
    }


def bare(found: Sequence[Row]) -> dict[str, str]:
    """Small networks as they leave surgery."""
    small = [row for row in found if set(row["after"]) == {"top1"}]
    best = max(row["after"]["top1"] for row in small)
    assert best < BARE, "the page says that these are near chance"
    return {"bare_cuts": str(len({row["case"] for row in small})), "bare_best": f"{100 * best:.1f}"}


def ahead(name: str, whole: Mapping[tuning.Place, tuning.Sides]) -> dict[str, str]:
    """Measured widths, compensated: of the host's better ranking, of a uniform ratio and of default widths."""
    sides = [one for one in whole.values() if tuning.CURVES in one]
    host = [tuning.gap(one, tuning.better_host(one), tuning.CURVES).mean for one in sides]
    uniform = [tuning.gap(one, "uniform ratio", tuning.CURVES).mean for one in sides]
    default = [tuning.gap(one, tuning.OURS, tuning.CURVES).mean for one in sides]
    return {
        f"{name}_cuts": str(len(sides)),
        name: f"{mean(host):+.1f}",
        f"{name}_least": f"{min(host):+.1f}",
        f"{name}_uniform": f"{mean(uniform):+.1f}",
        f"{name}_default": f"{mean(default):+.1f}",
    }


def longest(whole: Mapping[tuning.Place, tuning.Sides]) -> dict[str, str]:
    """Measured widths where most pictures were seen."""
    (net, keep, images), sides = tuning.longest_of(whole)
    return {
        "longest_cut": f"{net} at {keep:.0%}",
        "longest_pictures": f"{images:,}",
        "longest_host": told(tuning.gap(sides, tuning.better_host(sides), tuning.CURVES)),
        "longest_uniform": told(tuning.gap(sides, "uniform ratio", tuning.CURVES)),
    }


def pretrained() -> dict[str, str]:
    """Networks that came with their weights, untrained, and what the host's choice of units leaves of them."""
    vit, host = at(HALF_A_VIT, "conditional", "ours"), at(HALF_A_VIT, "l1", "none")
    told = {"vit": iou(vit), "vit_host": iou(host), "vit_dense": f"{vit[0]['dense']['iou']:.3f}"}
    for name, case in (("mobilenet", "mobilenetv2, 75 %"), ("lite", "lite0, 75 %")):
        hosts = [at(case, way, "norms anew", widths="stock") for way in compensation.STOCK]
        told[name] = f"{100 * agreement(at(case, 'conditional', 'ours')):.1f}"
        told[f"{name}_host"] = f"{100 * max(map(agreement, hosts)):.1f}"
    return told


def distilled(name: str, net: str) -> dict[str, str]:
    """Agreement of a network that was distilled without labels, ours and the host's."""
    ours, host = "compensation, distillation", "host isomorphic L1, norms anew, distillation"
    return {name: rung(net, ours), f"{name}_host": rung(net, host)}


def rung(net: str, name: str) -> str:
    """Agreement after that rung of recovery."""
    return f"{100 * agreement(newest('ladder', recovery.KEY, net=net, rungs=name)):.1f}"


def at(case: str, way: str, how: str, *, widths: str = "default") -> list[Row]:
    return newest("compensation", compensation.KEY, case=case, way=way, allocation=widths, compensation=how)


def iou(found: Sequence[Row]) -> str:
    return f"{mean(row['after']['iou'] for row in found):.3f}"


def agreement(found: Sequence[Row]) -> float:
    return mean(row["after"]["alike"]["agreement"] for row in found)


def long() -> dict[str, str]:
    """After tuning on many pictures, without compensation."""
    widths, criteria = (
        newest(name, (*contest.CONTEST, by)) for name, by in (("allocations", "way"), ("criteria", "criterion"))
    )
    wide = [row for row in widths if row["images"] == contest.LONG]
    return {
        "widths": told(contest.gap(wide, "way", contest.MEASURED, "uniform ratio", lambda row: row["keep"] == 0.1)),
        "units": told(
            contest.gap(criteria, "criterion", contest.WITH_READERS[0], "L1", lambda row: row["images"] == contest.LONG)
        ),
    }


def taught() -> dict[str, str]:
    """The whole product on digits, at equal MACs and at equal latency."""
    digits = [cut for cut in product.cuts() if cut.net in DIGITS]
    by_macs, by_latency = ([cut.leads[place] for cut in digits if cut.leads[place]] for place in (0, 1))
    return {
        "product_cuts": str(len(by_macs)),
        "product_cuts_fast": str(len(by_latency)),
        "product": product.over(by_macs),
        "product_fast": product.over(by_latency),
        "product_least": f"{min(mean(leads) for leads in [*by_macs, *by_latency]):+.1f}",
    }


def told(gap: object) -> str:
    return f"{gap:.1f}"
