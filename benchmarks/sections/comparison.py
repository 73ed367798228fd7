"""docs/comparison.md: infoprune beside torch-pruning and torch-kirigami."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from results_file import paired

from sections.rows import Row, newest, row, table, times

OUTCOMES = {
    "forward fails": "the forward pass fails afterwards on {}",
    "graph fails": "its graph fails on {}",
    "prune fails": "its step fails on {}",
    "runs with other output shapes": "outputs have other shapes on {}",
    "CRASH": "no end came in 60 s on {}",
}
FEW = 5  # kinds with fewer networks share a line
WAYS = {"kirigami": "torch-kirigami, L2", "l2": "infoprune, L2", "conditional": "infoprune, conditional"}
SHOWN = (("params", ".1%"), ("cut", ".1%"), ("compensated", ".1%"), ("made_cpu_s", ".1f"))
EQUAL = 1e-9  # of the largest output, in double precision; rounding is ten thousand times smaller


def fields() -> dict[str, str]:
    found, kirigami = newest("third_party_zoo", ("model",)), newest("kirigami_zoo", ("model",))
    ours = Counter(each["outcome"] for each in found)
    host = Counter(each["host"]["outcome"] for each in found)
    only_host = [each["model"] for each in found if _runs(each) and each["outcome"] == "refused"]
    speed, vit = row("surgery_speed", model="resnet50"), "vit, heads and MLPs, 50 %"
    cut = newest("compensation", ("compensation", "draw"), case=vit, way="conditional")
    return {
        "networks": str(len(found)),
        "packages": str(len({each["package"] for each in found if each["version"]})),
        "host_version": found[0]["environment"]["torch-pruning"],
        "kinds": "\n".join(_kinds(found, {each["model"]: each for each in kirigami})),
        "refused": str(ours["refused"]),
        "uncompared": str(ours["uncompared"]),
        "host_others": ", ".join(words.format(host[outcome]) for outcome, words in OUTCOMES.items()),
        "only_host": str(len(only_host)),
        "only_host_names": ", ".join(only_host),
        "cost": f"{times(speed, 'ours', 'host'):.2f}",
        "vit_none": _iou([each for each in cut if each["compensation"] == "none"]),
        "vit_ours": _iou([each for each in cut if each["compensation"] == "ours"]),
        "vit_dense": f"{cut[0]['dense']['iou']:.3f}",
        **_kirigami(kirigami),
        **_digits(newest("kirigami_digits", ("seed", "keep", "way"))),
    }


def _digits(found: Sequence[Row]) -> dict[str, str]:
    keeps = sorted({each["keep"] for each in found}, reverse=True)
    lines = [(f"{keep:.0%}", WAYS[way], *_means(found, keep, way)) for keep in keeps for way in WAYS]
    gaps = [paired(_by_seed(found, keep, "conditional"), _by_seed(found, keep, "kirigami")) for keep in keeps]
    header = ("of the parameters", "cut by", "has", "after the cut", "after compensation", "s")
    return {
        "digits_dense": _mean([each for each in found if each["way"] == "l2"], "dense", ".1%"),
        "digits_seeds": str(len({each["seed"] for each in found})),
        "digits": table(header, lines, "llrrrr"),
        "digits_differences": ", ".join(f"{gap:.3f} at {keep:.0%}" for keep, gap in zip(keeps, gaps, strict=True)),
    }


def _by_seed(found: Sequence[Row], keep: float, way: str) -> dict[int, float]:
    return {each["seed"]: each["compensated"] for each in found if (each["keep"], each["way"]) == (keep, way)}


def _means(found: Sequence[Row], keep: float, way: str) -> list[str]:
    chosen = [each for each in found if (each["keep"], each["way"]) == (keep, way)]
    return [_mean(chosen, *how) for how in SHOWN]


def _mean(found: Sequence[Row], name: str, form: str) -> str:
    return format(statistics.mean(each[name] for each in found), form)


def _kirigami(found: Sequence[Row]) -> dict[str, str]:
    """What became of the networks that it was tried on, the better of two tries where there were two."""
    last = [each.get("not_in_place", each["as_it_comes"]) for each in found]
    stages = Counter(each.get("reason", "").split(":")[0] for each in last if each["outcome"] == "refused")
    slow = [each for each in last if each["outcome"] == "CRASH" and each["reason"].startswith("no end within")]
    runs = [each for each in last if each["outcome"] == "runs"]
    assert len(runs) + len(slow) + sum(stages.values()) == len(found), "an outcome that the page does not tell"
    helped = sum("not_in_place" in each and each["not_in_place"]["outcome"] == "runs" for each in found)
    tried = sum("not_in_place" in each for each in found)
    seconds = [each["made_cpu_s"] for each in runs]
    hub = [each for each in found if each["package"] == "transformers"]
    masked = [each for each in found if _ran(each) and _equal(each)]
    return {
        "kirigami_version": found[0]["kirigami"],
        "kirigami_tried": str(len(found)),
        "kirigami_graph": str(stages.pop("graph")),
        "kirigami_transformers": _all(len([each for each in hub if each["as_it_comes"]["outcome"] == "refused"]), hub),
        "kirigami_plan": str(sum(stages.values())),
        "kirigami_slow": str(len(slow)),
        "kirigami_limit": slow[0]["reason"].split()[3],
        "kirigami_in_place": f"Of {tried} that write in place, {helped} prune once they don't. " if tried else "",
        "kirigami_runs": str(len(runs)),
        "kirigami_priced": _all(sum(each["promised"] == each["counted"] for each in runs if "promised" in each), runs),
        "kirigami_reloaded": _all(sum(each["reload"] == "same bits" for each in runs), runs),
        "kirigami_masked": _all(len(masked), runs),
        "kirigami_other": ", ".join(each["model"] for each in found if _ran(each) and not _equal(each)),
        "kirigami_median": f"{statistics.median(seconds):.1f}",
        "kirigami_longest": f"{max(seconds):.0f}",
    }


def _ran(each: Mapping[str, Row]) -> bool:
    return each.get("not_in_place", each["as_it_comes"])["outcome"] == "runs"


def _equal(each: Mapping[str, Row]) -> bool:
    mask = each.get("not_in_place", each["as_it_comes"])["mask"]
    return isinstance(mask, float) and mask <= EQUAL


def _all(count: int, of: Sequence[Row]) -> str:
    return "all" if count == len(of) else str(count)


def _runs(each: Row) -> bool:
    return each["host"]["outcome"] == "runs"


def _kinds(found: Sequence[Row], kirigami: Mapping[str, Row]) -> list[str]:
    """A line for each kind, the most networks first; rare ones together; then all."""
    grouped = defaultdict(list)
    size = Counter(each["kind"] for each in found)
    for each in found:
        grouped[each["kind"] if size[each["kind"]] >= FEW else "other kinds"].append(each)
    order = sorted(grouped, key=lambda kind: (kind == "other kinds", -len(grouped[kind]), kind))
    return [*(_line(kind, grouped[kind], kirigami) for kind in order), _line("**all**", found, kirigami)]


def _line(kind: str, found: Sequence[Row], kirigami: Mapping[str, Row]) -> str:
    pruned = sum(each["outcome"] == "pruned" for each in found)
    with_heads = sum(_runs(each) or each["host_heads"]["outcome"] == "runs" for each in found)
    tried = [kirigami[each["model"]] for each in found if each["model"] in kirigami]
    ran = f"{sum(map(_ran, tried))}" + (f" of {len(tried)}" if len(tried) < len(found) else "") if tried else ""
    return f"| {kind} | {len(found)} | {pruned} | {sum(map(_runs, found))} | {with_heads} | {ran} |"


def _iou(found: Sequence[Row]) -> str:
    values = [each["after"]["iou"] for each in found]
    return f"{sum(values) / len(values):.3f}"
