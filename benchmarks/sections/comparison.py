"""docs/comparison.md: infoprune beside torch-pruning, from rows that other pages show as well."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from sections.rows import Row, newest, row, times

OUTCOMES = {
    "forward fails": "the forward pass fails afterwards on {}",
    "graph fails": "its graph fails on {}",
    "prune fails": "its step fails on {}",
    "runs with other output shapes": "outputs have other shapes on {}",
    "CRASH": "no end came in 60 s on {}",
}
FEW = 5  # kinds with fewer networks share a line


def fields() -> dict[str, str]:
    found = newest("third_party_zoo", ("model",))
    ours = Counter(each["outcome"] for each in found)
    host = Counter(each["host"]["outcome"] for each in found)
    only_host = [each["model"] for each in found if _runs(each) and each["outcome"] == "refused"]
    speed, vit = row("surgery_speed", model="resnet50"), "vit, heads and MLPs, 50 %"
    cut = newest("compensation", ("compensation", "draw"), case=vit, way="conditional")
    return {
        "networks": str(len(found)),
        "packages": str(len({each["package"] for each in found if each["version"]})),
        "host_version": found[0]["environment"]["torch-pruning"],
        "kinds": "\n".join(_kinds(found)),
        "refused": str(ours["refused"]),
        "uncompared": str(ours["uncompared"]),
        "host_others": ", ".join(words.format(host[outcome]) for outcome, words in OUTCOMES.items()),
        "only_host": str(len(only_host)),
        "only_host_names": ", ".join(only_host),
        "cost": f"{times(speed, 'ours', 'host'):.2f}",
        "vit_none": _iou([each for each in cut if each["compensation"] == "none"]),
        "vit_ours": _iou([each for each in cut if each["compensation"] == "ours"]),
        "vit_dense": f"{cut[0]['dense']['iou']:.3f}",
    }


def _runs(each: Row) -> bool:
    return each["host"]["outcome"] == "runs"


def _kinds(found: Sequence[Row]) -> list[str]:
    """A line for each kind, the most networks first; rare ones together; then all."""
    grouped = defaultdict(list)
    size = Counter(each["kind"] for each in found)
    for each in found:
        grouped[each["kind"] if size[each["kind"]] >= FEW else "other kinds"].append(each)
    order = sorted(grouped, key=lambda kind: (kind == "other kinds", -len(grouped[kind]), kind))
    return [*(_line(kind, grouped[kind]) for kind in order), _line("**all**", found)]


def _line(kind: str, found: Sequence[Row]) -> str:
    pruned = sum(each["outcome"] == "pruned" for each in found)
    with_heads = sum(_runs(each) or each["host_heads"]["outcome"] == "runs" for each in found)
    return f"| {kind} | {len(found)} | {pruned} | {sum(map(_runs, found))} | {with_heads} |"


def _iou(found: Sequence[Row]) -> str:
    values = [each["after"]["iou"] for each in found]
    return f"{sum(values) / len(values):.3f}"
