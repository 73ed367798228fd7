"""Which units should stay: the heads of clusters, the largest energies, or any? (the paper's fig. 1)

    python benchmarks/depth_strategies.py run              # resumable: one JSON line a stage
    python benchmarks/depth_strategies.py run --smoke      # minutes shrunk to seconds, to see that it works
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
import json
import time
from pathlib import Path

import numpy as np
import torch
from depth_task import Digits, ResNet, accuracy, train

import infoprune as ip

HERE = Path(__file__).parent
STRATEGIES = ("clusters", "largest", "random")
STAGES = (20, 15, 10, 6)  # of 27 units
X = torch.zeros(1, 3, 32, 32)
LEARNED = 0.3  # the least accuracy of a dense network, at ten classes, from which there is something to compare


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "table"])
    parser.add_argument("--out", type=Path, default=HERE / "results" / "depth_strategies.jsonl")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--network", type=int, help="the seed of one dense network for all seeds")
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--images", type=int, default=192_000, help="to train the dense network")
    parser.add_argument("--rate", type=float, default=0.2, help="the dense network's largest learning rate")
    parser.add_argument("--retrain", type=int, default=19_200, help="images after each stage")
    parser.add_argument("--pictures", type=int, default=4000, help="to test on")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.what == "table":
        show(options)
        return
    if options.smoke:
        options.seeds, options.width, options.images, options.retrain, options.pictures = [0], 4, 256, 128, 200
        options.out = options.out.with_name("depth_strategies_smoke.jsonl")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    run(options)


def run(options: argparse.Namespace) -> None:
    test = Digits(train=False, seed=9)
    pictures = test.sample(options.pictures)
    for seed in options.seeds:
        dense = trained(options, seed, pictures)
        if not options.smoke and accuracy(dense, *pictures) < LEARNED:
            print(f"seed {seed}: the dense network did not learn; give more --images or a lower --rate", flush=True)
            continue
        for strategy in STRATEGIES:
            follow(options, seed, strategy, dense, pictures)


def trained(options: argparse.Namespace, seed: int, pictures: tuple) -> ResNet:
    """The dense network of this seed, or of all of them, from its checkpoint if there is one."""
    own = seed if options.network is None else options.network
    torch.manual_seed(own)
    model, begun = ResNet(56, options.width), time.process_time()
    checkpoint = options.out.with_name(f"{options.out.stem}_{options.width}_{options.images}_{own}.pt")
    if checkpoint.exists():
        model.load_state_dict(torch.load(checkpoint, weights_only=True))
    else:
        train(model, Digits(train=True, seed=100 + own), options.images, rate=options.rate)
        torch.save(model.state_dict(), checkpoint)
    key = {"seed": seed, "strategy": "dense", "stage": -1}
    if key_of(key) not in done(options):
        record(options, {**key, "network": own, **measured(model, pictures, begun)})
    return model.eval()


def follow(options: argparse.Namespace, seed: int, strategy: str, dense: ResNet, pictures: tuple) -> None:
    """All stages of one strategy; those on file are loaded from their checkpoint."""
    model = copy.deepcopy(dense)
    for stage, count in enumerate(STAGES):
        key = {"seed": seed, "strategy": strategy, "stage": stage}
        folder = options.out.with_name(f"{options.out.stem}_work") / f"{seed}_{strategy}_{options.width}_{stage}"
        if key_of(key) in done(options) and folder.exists():
            model = ip.load(folder / "model", factory=lambda: ResNet(56, options.width))
            continue
        begun = time.process_time()
        digits = Digits(train=True, seed=1000 * (seed + 1) + stage)  # all strategies retrain on the same pictures
        loader = [digits.sample(128) for _ in range(16 if not options.smoke else 2)]
        seen = ip.unit_energies(model, loader, X)
        plan = ip.plan_depth(model, X, seen, clusters=count, strategy=strategy, seed=seed)
        ip.prune_(model, X, plan)
        before = accuracy(model, *pictures)
        train(model, digits, options.retrain, rate=0.05)
        plans = [*plans_of(options, seed, strategy, stage - 1), plan]
        ip.save(folder / "model", model.to(memory_format=torch.contiguous_format), plans)
        told = {"units": count, "stay": plan.made_by["stay"], "before_retraining": before, "seen": dict(seen)}
        record(options, {**key, **measured(model, pictures, begun), **told})


def plans_of(options: argparse.Namespace, seed: int, strategy: str, stage: int) -> list:
    if stage < 0:
        return []
    from infoprune.artifact import read_config

    folder = options.out.with_name(f"{options.out.stem}_work") / f"{seed}_{strategy}_{options.width}_{stage}"
    return list(read_config(folder / "model").plans)


def measured(model: ResNet, pictures: tuple, begun: float) -> dict:
    counted = ip.measure(model, X)
    found = {"accuracy": accuracy(model, *pictures), "macs": counted.macs, "params": counted.params}
    return {**found, "cpu_s": round(time.process_time() - begun, 1)}


def record(options: argparse.Namespace, row: dict) -> None:
    row = {**row, "width": options.width, "images": options.images, "retrain": options.retrain}
    with options.out.open("a") as file:
        file.write(json.dumps(row) + "\n")
    print({k: v for k, v in row.items() if k not in ("seen", "stay")}, flush=True)


def rows_of(options: argparse.Namespace) -> list[dict]:
    return [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.exists() else []


def done(options: argparse.Namespace) -> set:
    return {key_of(row) for row in rows_of(options) if row["width"] == options.width}


def key_of(row: dict) -> tuple:
    return row["seed"], row["strategy"], row["stage"]


def show(options: argparse.Namespace) -> None:
    """Accuracy by strategy and stage, and the differences between strategies, paired by seed."""
    rows = rows_of(options)
    everyone = {r["seed"]: r for r in rows if r["strategy"] == "dense"}
    dense = {seed: r for seed, r in everyone.items() if r["accuracy"] >= LEARNED}
    if not dense:
        raise SystemExit(f"{options.out} holds no results; run first")
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
    if options.plot:
        plot(lines, dense, options.plot)


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
