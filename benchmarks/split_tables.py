"""What split_scenes.py measured, as tables and pictures; called by its `table` command."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from statistics import mean

import numpy as np
from split_train import METRICS

from infoprune.report import split as pictures
from infoprune.split import Point, WinnerMap, rate_difference, task_distortion, winner_map

HARD, BASE, QPS = (0.9375, 0.875, 0.75, 0.5), (0.5, 0.75), (10, 20, 30, 40)  # shares that travel, and qualities
METHODS = ("corrected", "plug-in", "l1", "l2", "gm", "random")


class Results:
    """Lines by (seed, ranking, mode, share, qp); rankings by information are one for each task."""

    def __init__(self, lines: Iterable[dict]):
        self.lines = {
            (line["seed"], line["ranking"], line["mode"], line["share"], line["qp"]): line
            for line in lines
            if line["kind"] == "selection"
        }
        self.seeds = sorted({key[0] for key in self.lines})

    def has(self, seed: int, mode: str, share: float, qp: int | None = None) -> bool:
        return all(self.line(seed, m, t, mode, share, qp) for m in METHODS for t in METRICS)

    def line(self, seed: int, method: str, task: str, mode: str, share: float, qp: int | None = None) -> dict | None:
        ranking = f"{method}/{task}" if method in ("corrected", "plug-in") else method
        return self.lines.get((seed, ranking, mode, share, qp))

    def score(self, seed: int, method: str, task: str, mode: str, share: float, qp: int | None = None) -> float:
        return self.line(seed, method, task, mode, share, qp)["scores"][task]

    def full(self, seed: int, task: str, mode: str) -> float:
        """With all features, on the same images."""
        return self.line(seed, "all", task, mode, 1.0)["scores"][task]

    def distortions(self, seed: int, method: str, mode: str, share: float, qp: int | None = None) -> dict[str, float]:
        return {
            task: task_distortion(self.full(seed, task, mode), self.score(seed, method, task, mode, share, qp))
            for task in METRICS
        }

    def gain(self, seed: int, other: str, task: str, mode: str, share: float, qp: int | None = None) -> tuple:
        """How much better the corrected estimate's score is than another method's, and the 95 % interval."""
        sign = 1 if METRICS[task].better == "higher" else -1
        lines = [self.line(seed, method, task, mode, share, qp) for method in ("corrected", other)]
        drawn = np.subtract(*(line["resampled"][task] for line in lines)) * sign
        low, high = np.quantile(drawn, [0.025, 0.975])
        return sign * (lines[0]["scores"][task] - lines[1]["scores"][task]), low, high


def write(lines: list[dict], plots: Path | None) -> None:
    found = Results(lines)
    saturation_table([line for line in lines if line["kind"] == "saturation"])
    hard_table(found)
    gains_table(found)
    winners = winner_table(found)
    rate_table(found)
    if plots:
        draw(found, winners, plots)


def saturation_table(lines: list[dict]) -> None:
    print("\n| patch | estimate | permuted labels score, of H(Y) | saturated | spread of plug-in, nats | of excess |")
    print("|---|---|---|---|---|---|")
    for line in lines:
        cells = (line["patch"], line["view"], f"{line['null_over_entropy']:.3f}", f"{line['saturated']:.0%}")
        print("|", " | ".join(map(str, cells)), f"| {line['value_spread']:.4f} | {line['excess_spread']:.4f} |")


def hard_table(found: Results) -> None:
    for seed in found.seeds:
        full = ", ".join(f"{found.full(seed, task, 'hard'):.3f}" for task in METRICS)
        print(f"\nhard selection, seed {seed}; all features: {full}")
        print("| share | task |", " | ".join(METHODS), "|")
        print("|---" * (2 + len(METHODS)) + "|")
        for share in HARD:
            if not found.has(seed, "hard", share):
                continue
            for task in METRICS:
                scores = [f"{found.score(seed, method, task, 'hard', share):.3f}" for method in METHODS]
                print(f"| {100 * share:g} % | {task} |", " | ".join(scores), "|")


def gains_table(found: Results) -> None:
    print("\ncorrected against others, hard selection: gain (95 % interval over images) by seed; * excludes 0")
    for share in HARD:
        for task in METRICS:
            for other in METHODS[1:]:
                seeds = [seed for seed in found.seeds if found.has(seed, "hard", share)]
                gains = [found.gain(seed, other, task, "hard", share) for seed in seeds]
                text = "; ".join(f"{g:+.3f} ({a:+.3f} to {b:+.3f}){'*' if a * b > 0 else ''}" for g, a, b in gains)
                print(f"{100 * share:g} % {task} against {other}: {text}")


def winner_table(found: Results) -> dict[str, WinnerMap]:
    """Area shares by seed, and maps of the mean distortions."""
    print("\nshare of the weight triangle where the first has the lower total distortion, by seed; of mean distortions")
    maps = {}
    for mode in ("hard", "soft"):
        for share in BASE:
            for first in ("corrected", "plug-in"):
                for second in ("l2", "l1", "gm", "random", "plug-in"):
                    if first == second:
                        continue
                    pairs = [pair for seed in found.seeds if (pair := both(found, seed, first, second, mode, share))]
                    if not pairs:
                        continue
                    shares = " ".join(f"{winner_map(*pair).share:.0%}" for pair in pairs)
                    average = winner_map(*({t: mean(pair[i][t] for pair in pairs) for t in METRICS} for i in (0, 1)))
                    print(f"{mode} {share:.0%}, {first} against {second}: {shares}; {average.share:.0%}")
                    if second == "l2" and first == "corrected":
                        maps[f"{mode} {share:.0%}"] = average
    return maps


def both(found: Results, seed: int, first: str, second: str, mode: str, share: float) -> tuple | None:
    """The task distortions of two methods; of soft selection the means over QPs."""
    qps = QPS if mode == "soft" else (None,)
    if not all(found.has(seed, mode, share, qp) for qp in qps):
        return None
    every = [[found.distortions(seed, method, mode, share, qp) for qp in qps] for method in (first, second)]
    return tuple({task: mean(d[task] for d in one) for task in METRICS} for one in every)


def points(found: Results, seed: int, method: str, task: str, share: float) -> list[tuple[float, float]]:
    ways = [("hard", None), *(("soft", qp) for qp in QPS)]
    lines = [found.line(seed, method, task, mode, share, qp) for mode, qp in ways]
    return [(line["bytes"], line["scores"][task]) for line in lines if line]


def rate_table(found: Results) -> None:
    print("\nBjontegaard rate difference of the corrected estimate, % (negative: fewer bytes at equal score), by seed")
    for share in BASE:
        for task, metric in METRICS.items():
            for other in METHODS[1:]:
                seeds = [s for s in found.seeds if all(found.has(s, "soft", share, qp) for qp in QPS)]
                pairs = [[points(found, s, m, task, share)[1:] for m in (other, "corrected")] for s in seeds]
                values = [f"{rate_difference(*pair, better=metric.better):+.1f}" for pair in pairs]
                print(f"base {share:.0%} {task} against {other}: {' '.join(values)}")


def draw(found: Results, maps: dict[str, WinnerMap], folder: Path) -> None:
    """Scores of the first seed, winner maps of the mean distortions."""
    seed = found.seeds[0]
    hard = {m: [mixed(found, seed, "all", "hard", 1.0)] for m in METHODS}
    for method in METHODS:
        hard[method] += [mixed(found, seed, method, "hard", s) for s in HARD if found.has(seed, "hard", s)]
    pictures.accuracy_against_share(hard, METRICS).savefig(folder / "split_hard.png", dpi=110)
    if all(found.has(seed, "soft", 0.5, qp) for qp in QPS):
        soft = {m: [mixed(found, seed, m, "soft", 0.5, qp) for qp in QPS] for m in METHODS}
        crosses = {m: mixed(found, seed, m, "hard", 0.5) for m in METHODS}
        pictures.accuracy_against_bytes(soft, METRICS, crosses).savefig(folder / "split_soft.png", dpi=110)
    if maps:
        pictures.winners(maps, ("information", "l2")).savefig(folder / "split_winners.png", dpi=110)


def mixed(found: Results, seed: int, method: str, mode: str, share: float, qp: int | None = None) -> Point:
    """Each task's score with its own ranking; the bytes are their mean."""
    lines = {task: found.line(seed, method, task, mode, share, qp) for task in METRICS}
    size = mean(line["bytes"] for line in lines.values())
    return Point(share, size, {task: line["scores"][task] for task, line in lines.items()}, qp)
