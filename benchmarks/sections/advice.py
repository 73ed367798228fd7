"""What to use with how much data, and the figure that says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean

from sections import compensation, contest, decoder, family, recovery, tuning
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
        "some": f"{mean(tuning.gap(sides).mean for place, sides in cuts.items() if place[2] == 3_200):+.1f}",
        **pretrained(),
        "distilled": rung("compensation, distillation"),
        "distilled_host": rung("host isomorphic L1, norms anew, distillation"),
        **long(),
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
    """Of the host's better ranking and of a uniform ratio."""
    host = [tuning.gap(sides, tuning.better_host(sides)).mean for sides in whole.values()]
    uniform = [tuning.gap(sides, "uniform ratio").mean for sides in whole.values()]
    return {
        f"{name}_cuts": str(len(whole)),
        name: f"{mean(host):+.1f}",
        f"{name}_least": f"{min(host):+.1f}",
        f"{name}_uniform": f"{mean(uniform):+.1f}",
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


def rung(name: str) -> str:
    """Agreement of MobileNetV2 after that rung of recovery."""
    return f"{100 * agreement(newest('ladder', recovery.KEY, net='mobilenetv2', rungs=name)):.1f}"


def at(case: str, way: str, how: str, *, widths: str = "default") -> list[Row]:
    return newest("compensation", compensation.KEY, case=case, way=way, allocation=widths, compensation=how)


def iou(found: Sequence[Row]) -> str:
    return f"{mean(row['after']['iou'] for row in found):.3f}"


def agreement(found: Sequence[Row]) -> float:
    return mean(row["after"]["alike"]["agreement"] for row in found)


def long() -> dict[str, str]:
    """After tuning on many pictures, and the whole product."""
    widths, criteria, recipes = (
        newest(name, (*contest.CONTEST, by))
        for name, by in (("allocations", "way"), ("criteria", "criterion"), ("pareto", "recipe"))
    )
    wide = [row for row in widths if row["images"] == contest.LONG]
    return {
        "widths": told(contest.gap(wide, "way", contest.MEASURED, "uniform ratio", lambda row: row["keep"] == 0.1)),
        "units": told(
            contest.gap(criteria, "criterion", contest.WITH_READERS[0], "L1", lambda row: row["images"] == contest.LONG)
        ),
        "product": product(recipes, "resnet20"),
        "product_vgg": product(recipes, "vgg16"),
    }


def product(recipes: Sequence[Row], net: str) -> str:
    ours, host = contest.OURS[0], "host isomorphic L1, distilled"
    return told(contest.gap(recipes, "recipe", ours, host, lambda row: (row["net"], row["keep"]) == (net, 0.1)))


def told(gap: object) -> str:
    return f"{gap:.1f}"
