"""Which units should stay: the heads of clusters, the largest energies, or any? (the paper's fig. 1)

    python benchmarks/depth_strategies.py run              # resumable: a row a stage
    python benchmarks/depth_strategies.py table [--plot docs/images/depth_strategies.png]

A ResNet-56 is trained on digits on photographs once a seed (or `--network 0`: all seeds start from the network of
seed 0, and differ in calibration, retraining and random choices alone). Each strategy then takes it through the same
stages: energies of the network as it is, the same number of units for all, removal, retraining. Accuracy is
on test pictures of other digits and photographs, the same for all.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import time
from pathlib import Path

import numpy as np
import torch
from depth_task import Digits, ResNet, accuracy, train
from results_file import ResultsFile, arguments, read

import infoprune as ip
from infoprune.artifact import read_config

STRATEGIES = ("clusters", "largest", "random")
STAGES = (20, 15, 10, 6)  # of 27 units
X = torch.zeros(1, 3, 32, 32)
LEARNED = 0.3  # the least accuracy of a dense network, at ten classes, from which there is something to compare


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("what", nargs="?", default="run", choices=["run", "table"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--network", type=int, help="the seed of one dense network for all seeds")
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--images", type=int, default=192_000, help="to train the dense network")
    parser.add_argument("--rate", type=float, default=0.2, help="the dense network's largest learning rate")
    parser.add_argument("--retrain", type=int, default=19_200, help="images after each stage")
    parser.add_argument("--pictures", type=int, default=4000, help="to test on")
    parser.add_argument("--plot", type=Path)
    parser.set_defaults(depth=56, stages=STAGES)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.smoke:
        options.seeds, options.width, options.images, options.retrain, options.pictures = [0], 4, 256, 128, 200
        options.depth, options.stages = 20, (6, 4)
    results = ResultsFile.of(options, "depth_strategies", ("seed", "strategy", "stage", "width"))
    if options.what == "table":
        show(results.path, options.plot)
        return
    results.path.parent.mkdir(parents=True, exist_ok=True)
    run(options, results)


def run(options: argparse.Namespace, results: ResultsFile) -> None:
    test = Digits(train=False, seed=9)
    pictures = test.sample(options.pictures)
    for seed in options.seeds:
        dense = trained(options, results, seed, pictures)
        if not options.smoke and accuracy(dense, *pictures) < LEARNED:
            print(f"seed {seed}: the dense network did not learn; give more --images or a lower --rate", flush=True)
            continue
        for strategy in STRATEGIES:
            follow(options, results, seed, strategy, dense, pictures)


def trained(options: argparse.Namespace, results: ResultsFile, seed: int, pictures: tuple) -> ResNet:
    """The dense network of this seed, or of all of them, from its checkpoint if there is one."""
    own = seed if options.network is None else options.network
    torch.manual_seed(own)
    model, begun = ResNet(options.depth, options.width), time.process_time()
    checkpoint = results.path.with_name(f"{results.path.stem}_{options.width}_{options.images}_{own}.pt")
    if checkpoint.exists():
        model.load_state_dict(torch.load(checkpoint, weights_only=True))
    else:
        train(model, Digits(train=True, seed=100 + own), options.images, rate=options.rate)
        torch.save(model.state_dict(), checkpoint)
    key = {"seed": seed, "strategy": "dense", "stage": -1, "width": options.width}
    if not results.has(**key):
        results.append({**key, "network": own, **measured(model, pictures, begun), **budget(options)})
    return model.eval()


def follow(
    options: argparse.Namespace, results: ResultsFile, seed: int, strategy: str, dense: ResNet, pictures: tuple
) -> None:
    """All stages of one strategy; those on file are loaded from their checkpoint."""
    model, plans = copy.deepcopy(dense), []
    for stage, count in enumerate(options.stages):
        key = {"seed": seed, "strategy": strategy, "stage": stage, "width": options.width}
        work = results.path.with_name(f"{results.path.stem}_work")
        folder = work / f"{seed}_{strategy}_{options.width}_{stage}" / "model"
        if results.has(**key) and folder.exists():
            model = ip.load(folder, factory=lambda: ResNet(options.depth, options.width))
            plans = list(read_config(folder).plans)
            continue
        begun = time.process_time()
        digits = Digits(train=True, seed=1000 * (seed + 1) + stage)  # all strategies retrain on the same pictures
        loader = [digits.sample(128) for _ in range(16 if not options.smoke else 2)]
        seen = ip.unit_energies(model, loader, X)
        plan = ip.plan_depth(model, X, seen, clusters=count, strategy=strategy, seed=seed)
        ip.prune_(model, X, plan)
        before = accuracy(model, *pictures)
        train(model, digits, options.retrain, rate=0.05)
        plans.append(plan)
        ip.save(folder, model.to(memory_format=torch.contiguous_format), plans)
        told = {"units": count, "stay": plan.made_by["stay"], "before_retraining": before, "seen": dict(seen)}
        results.append({**key, **measured(model, pictures, begun), **told, **budget(options)})


def measured(model: ResNet, pictures: tuple, begun: float) -> dict:
    counted = ip.measure(model, X)
    found = {"accuracy": accuracy(model, *pictures), "macs": counted.macs, "params": counted.params}
    return {**found, "cpu_s": round(time.process_time() - begun, 1)}


def budget(options: argparse.Namespace) -> dict:
    return {"images": options.images, "retrain": options.retrain}


def show(path: Path, picture: Path | None) -> None:
    """Accuracy by strategy and stage, and the differences between strategies, paired by seed."""
    rows = read(path)
    everyone = {r["seed"]: r for r in rows if r["strategy"] == "dense"}
    dense = {seed: r for seed, r in everyone.items() if r["accuracy"] >= LEARNED}
    if not dense:
        raise SystemExit(f"{path} holds no results; run first")
    if lost := sorted(everyone.keys() - dense.keys()):
        print(f"left out, since their dense networks did not learn: seeds {lost}")
    rows = [r for r in rows if r["seed"] in dense]
    whole = next(iter(dense.values()))
    about = f"{whole['images']:,} images to train, {whole['retrain']:,} after each stage"
    print(f"dense: {spread([r['accuracy'] for r in dense.values()])}, {about}")
    print(f"{whole['macs']:,} MACs, {whole['params']:,} parameters; intervals are 95 % (Student) over seeds\n")
    lines = by_strategy(rows, whole)
    print("| strategy | units | seeds | accuracy | before retraining | MACs kept | params kept |")
    print("|---|--:|--:|---|---|--:|--:|")
    for strategy, points in lines.items():
        for p in points:
            told = f"{spread(list(p['accuracy'].values()))} | {spread(list(p['before'].values()))}"
            print(
                f"| {strategy} | {p['units']} | {len(p['accuracy'])} | {told} | {p['macs']:.1%} | {p['params']:.1%} |"
            )
    print("\n| difference, paired by seed | units | seeds | points of accuracy |\n|---|--:|--:|---|")
    for one, other in (("clusters", "largest"), ("clusters", "random"), ("largest", "random")):
        for mine, theirs in zip(lines.get(one, []), lines.get(other, []), strict=False):
            seeds = sorted(mine["accuracy"].keys() & theirs["accuracy"].keys())
            gaps = [100 * (mine["accuracy"][s] - theirs["accuracy"][s]) for s in seeds]
            print(f"| {one} - {other} | {mine['units']} | {len(seeds)} | {spread(gaps, digits=2)} |")
    if picture:
        plot(lines, dense, picture)


def by_strategy(rows: list[dict], whole: dict) -> dict[str, list[dict]]:
    """strategy -> for each stage that has results: units, accuracies by seed, and shares of MACs and parameters."""
    lines: dict[str, list[dict]] = {}
    for strategy, (stage, count) in itertools.product(STRATEGIES, enumerate(STAGES)):
        found = [r for r in rows if (r["strategy"], r["stage"]) == (strategy, stage)]
        if found:
            shares = {k: float(np.mean([r[k] for r in found])) / whole[k] for k in ("macs", "params")}
            accuracy = {r["seed"]: r["accuracy"] for r in found}
            before = {r["seed"]: r["before_retraining"] for r in found}
            lines.setdefault(strategy, []).append({"units": count, "accuracy": accuracy, "before": before, **shares})
    return lines


def spread(values: list[float], digits: int = 4) -> str:
    """The mean and half the width of its interval."""
    return (
        f"{np.mean(values):.{digits}f} ± {half_width(values):.{digits}f}"
        if len(values) > 1
        else f"{values[0]:.{digits}f}"
    )


def half_width(values: list[float]) -> float:
    from scipy.stats import t

    return float(t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5)


def plot(lines: dict[str, list], dense: dict, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    for axis, (key, name) in zip(axes, (("macs", "MACs"), ("params", "parameters")), strict=True):
        for strategy, points in lines.items():
            values = [list(p["accuracy"].values()) for p in points]
            errors = [half_width(v) if len(v) > 1 else 0 for v in values]
            shares = [100 * p[key] for p in points]
            axis.errorbar(shares, [np.mean(v) for v in values], errors, marker="o", capsize=3, label=strategy)
        axis.axhline(np.mean([r["accuracy"] for r in dense.values()]), color="0.6", linestyle="--", label="dense")
        axis.set_xlabel(f"{name} that remain, %")
        axis.invert_xaxis()
        axis.grid(alpha=0.3)
    seeds = max(len(p["accuracy"]) for points in lines.values() for p in points)
    axes[0].set_ylabel("test accuracy")
    figure.suptitle(f"mean of {seeds} seeds with 95 % intervals", fontsize="medium")
    axes[0].legend()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
