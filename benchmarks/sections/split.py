"""Which features which task needs, and what knowing that costs."""

from __future__ import annotations

from results_file import FOLDER, Difference, read
from split_tables import METHODS, METRICS, QPS, Results, both, points

from infoprune.split import rate_difference, winner_map
from sections.rows import newest, row, rows, table

NAMES = {"corrected": "information", "gm": "GM"}
TASKS = {"segmentation": "mIoU", "disparity": "disparity RMSE, px", "reconstruction": "PSNR, dB"}
DIGITS = {"segmentation": 3, "disparity": 3, "reconstruction": 2}


def fields() -> dict[str, str]:
    lines = read(FOLDER / "split_scenes.jsonl")
    found = Results(lines)
    saturated = [line for line in lines if line["kind"] == "saturation"]
    return {
        "trained": ", ".join(f"{r['miou']:.2f}" for r in rows("split_train")),
        "hard": hard(found),
        "gains": gains(found),
        "winners": winners(found),
        "soft_half": shares(found, "l2", "soft", 0.5),
        "soft_more": shares(found, "l2", "soft", 0.75),
        "rates": "; ".join(f"{task} {rates(found, task)}" for task in METRICS),
        "calibration": str(saturated[0]["images"]),
        "saturation": saturation(saturated),
        **speed(),
    }


def hard(found: Results) -> str:
    lines = []
    for seed in found.seeds:
        for task, name in TASKS.items():
            digits, best = DIGITS[task], max if METRICS[task].better == "higher" else min
            scores = {method: found.score(seed, method, task, "hard", 0.5) for method in METHODS}
            first = best(scores, key=scores.get)
            cells = (f"**{v:.{digits}f}**" if m == first else f"{v:.{digits}f}" for m, v in scores.items())
            lines.append((seed, name, f"{found.full(seed, task, 'hard'):.{digits}f}", *cells))
    return table(("seed", "task", "all", *(NAMES.get(m, m) for m in METHODS)), lines, "rl" + "r" * 7)


def gains(found: Results) -> str:
    lines = []
    for share in (0.75, 0.5):
        for task, name in TASKS.items():
            for other in METHODS[1:]:
                by_seed = [found.gain(seed, other, task, "hard", share) for seed in found.seeds]
                cells = (f"{Difference(*gain, pairs=0):.{DIGITS[task]}f}" for gain in by_seed)
                lines.append((f"{100 * share:g} %", name, NAMES.get(other, other), *cells))
    return table(("kept", "task", "against", *(f"seed {seed}" for seed in found.seeds)), lines, "rllrrr")


def winners(found: Results) -> str:
    others = ("l1", "l2", "gm", "random", "plug-in")
    lines = [
        (f"{100 * share:g} % of the features", *(shares(found, other, "hard", share) for other in others))
        for share in (0.75, 0.5)
    ]
    return table(("hard selection", *(NAMES.get(m, m) for m in others)), lines, "lrrrrr")


def shares(found: Results, other: str, mode: str, share: float) -> str:
    """Of the triangle of weights, by seed."""
    pairs = [both(found, seed, "corrected", other, mode, share) for seed in found.seeds]
    return ", ".join(f"{100 * winner_map(*pair).share:.0f}" for pair in pairs if pair) + " %"


def rates(found: Results, task: str) -> str:
    seeds = [s for s in found.seeds if all(found.has(s, "soft", 0.5, qp) for qp in QPS)]
    pairs = [[points(found, s, method, task, 0.5)[1:] for method in ("l2", "corrected")] for s in seeds]
    values = [rate_difference(*pair, better=METRICS[task].better) for pair in pairs]
    return ", ".join("no common score" if value != value else f"{value:+.1f} %" for value in values)


def saturation(lines: list[dict]) -> str:
    header = ("patch", "estimate", "permuted labels score", "features saturated", "spread of the scores, nats")
    cells = (
        (
            line["patch"],
            NAMES.get(line["view"], line["view"]),
            f"{100 * line['null_over_entropy']:.2f} %",
            f"{100 * line['saturated']:.0f} %",
            f"{line['excess_spread' if line['view'] == 'corrected' else 'value_spread']:.4f}",
        )
        for line in lines
    )
    return table(header, cells, "rlrrr")


def speed() -> dict[str, str]:
    axes, whole = row("split_speed", view="axes"), row("split_speed", view="whole")
    small = [r for r in newest("gaussian_mi", ("panel", "samples")) if r["samples"] in (4000, 10_000, 20_000)]
    return {
        "patches": f"{axes['patches']:,}",
        "streamed_images": f"{axes['images']:,}",
        "added": f"{100 * axes['streamed_s'] / axes['forward_s']:.1f} %",
        "streamed": f"{axes['streamed_s']:.1f}",
        "forward": f"{axes['forward_s']:,.0f}",
        "counts": f"{axes['counts'] / 1e6:.1f}",
        "loop": f"{axes['loop_s']:.1f}",
        "loop_times": f"{axes['loop_s'] / axes['streamed_s']:.1f}",
        "whole_added": f"{100 * whole['added']:.1f} %",
        "whole_times": f"{whole['times']:.1f}",
        "variances": ", ".join(f"{r['largest_variance_over_seeds']:.1e} ({r['panel']})" for r in small),
    }
