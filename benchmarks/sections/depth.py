"""Blocks against channels, what energies cost, and which blocks should stay."""

from __future__ import annotations

from statistics import mean

from results_file import paired

from sections.rows import Row, newest, row, rows, table

STRATEGIES = ("clusters", "largest", "random")


def fields() -> dict[str, str]:
    energy, beside = (
        row("depth_energy_cost", what="beside forward passes"),
        row("depth_energy_cost", what="beside dcor"),
    )
    dense = row("depth_strategies", strategy="dense", seed=0)
    stages = {name: stages_of(name) for name in STRATEGIES}
    last = {name: mean(r["params"] for r in stages[name][-1].values()) / dense["params"] for name in STRATEGIES}
    return {
        "latency": latency(),
        "slower": slower(),
        "equal_latency": equal_latency(),
        "units": str(energy["units"]),
        "added": f"{100 * energy['added']:.1f} %",
        "forward": f"{energy['forward_s']:.1f}",
        "whole": f"{energy['unit_energies_s']:.1f}",
        "dcor": f"{beside['times']:.0f}",
        "apart": f"{beside['relative_difference']:.0e}",
        "dense": f"{100 * dense['accuracy']:.1f} %",
        "seeds": str(len(stages["clusters"][0])),
        "strategies": strategies(stages, dense),
        "random_params": f"{100 * last['random']:.0f} %",
        "clusters_params": f"{100 * last['clusters']:.0f} %",
    }


def latency() -> str:
    lines = []
    for found in newest("depth_latency", ("model", "keep")):
        low, high = found["interval_95"]
        what = f"{found['model']}, {'32' if found['model'] == 'resnet56' else '224'} px, batch {found['batch']}"
        kept = f"{100 * found['macs']['shallow'] / found['macs']['dense']:.0f} %"
        lines.append((what, kept, f"{found['narrow_over_shallow']:.2f} ({low:.2f} to {high:.2f})"))
    return table(("network", "MACs kept", "channels / blocks, time (95 %)"), lines, "lrr")


def slower() -> str:
    """The least and the most times as long that channels take."""
    ratios = [found["narrow_over_shallow"] for found in newest("depth_latency", ("model", "keep"))]
    return f"{min(ratios):.2f} to {max(ratios):.2f}"


def equal_latency() -> str:
    """A line for each network, share and amount of tuning; seeds are means."""
    found, lines = newest("depth_or_width", ("net", "keep", "images", "seed", "way")), []
    for net, keep, images in dict.fromkeys((r["net"], r["keep"], r["images"]) for r in found):
        of = [r for r in found if (r["net"], r["keep"], r["images"]) == (net, keep, images)]
        blocks, channels = ({r["seed"]: r for r in of if r["way"] == way} for way in ("blocks", "channels"))
        points = [{seed: 100 * r["after"] for seed, r in way.items()} for way in (blocks, channels)]
        kept = (f"{100 * mean(r['macs_keep'] for r in way.values()):.0f} %" for way in (blocks, channels))
        slower = ", ".join(f"{r['time_over_blocks']:.2f}" for r in channels.values())
        gap = f"{paired(*points):.1f}" if len(points[0]) > 1 else ""
        lines.append((net, f"{images:,}", *kept, slower, *(f"{mean(p.values()):.1f}" for p in points), gap))
    header = (
        "network",
        "tuned on",
        "MACs: blocks",
        "channels",
        "time, channels / blocks, by seed",
        "accuracy: blocks",
        "channels",
    )
    return table((*header, "blocks - channels"), lines, "lrrrrrrr")


def stages_of(strategy: str) -> list[dict[int, Row]]:
    """For each stage the rows by seed."""
    found = [r for r in rows("depth_strategies", strategy=strategy) if r["stage"] >= 0]
    return [{r["seed"]: r for r in found if r["stage"] == stage} for stage in sorted({r["stage"] for r in found})]


def strategies(stages: dict[str, list[dict[int, Row]]], dense: Row) -> str:
    lines = []
    for at in zip(*(stages[name] for name in STRATEGIES), strict=True):
        points = [{seed: 100 * r["accuracy"] for seed, r in by_seed.items()} for by_seed in at]
        one = next(iter(at[0].values()))
        means = (f"{mean(p.values()):.1f}" for p in points)
        gaps = (f"{paired(points[0], other):.1f}" for other in points[1:])
        lines.append((one["units"], f"{100 * one['macs'] / dense['macs']:.0f} %", *means, *gaps))
    header = ("units of 27", "MACs kept", *STRATEGIES, "clusters - largest", "clusters - random")
    return table(header, lines, "rrrrrrr")
