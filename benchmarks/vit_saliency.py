"""Mask IoU of a real ViT-S/14 against what is left of its tokens, heads and MLP widths, alone and together, untrained.

    python benchmarks/vit_saliency.py --data DATA            # goes on where it was stopped; about 15 CPU minutes
    python benchmarks/vit_saliency.py --table                # the tables and the plot of what was measured so far

DATA holds what `vit_saliency_task.py` names. Each run is one line of JSON with the IoU of every image:
intervals are over images (bootstrap, 95 %), and differences are taken image by image.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch_pruning as tp
from torch import nn
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parent))
from vit_saliency_task import SIZE, networks, overlaps, pictures

import infoprune as ip
import infoprune.tokens

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "vit_saliency.jsonl"
PLOT = HERE.parent / "docs" / "images" / "vit-saliency.png"
IMAGES, SEED, BATCH = 32, 3, 16
STAGES = (3, 6, 9)
SCORES = ("capacity+independence", "capacity", "independence", "class-attention", "l2", "random", "paper")
KEEPS = (0.7, 0.9, 0.5)
WIDTHS = {"heads": (2 / 6, 1 / 6, 3 / 6), "mlp": (0.25, 0.1, 0.5)}  # rates
SITE = {"heads": ".attn.qkv", "mlp": ".mlp.fc1"}
BUDGETS = {0.854: 0.9, 0.624: 0.7}  # of MACs, with the keep ratio at which tokens alone cost as much
IMPORTANCES = {
    "capacity+independence": lambda: ip.importance.CapacityIndependenceImportance(),
    "l2": lambda: tp.importance.GroupMagnitudeImportance(p=2),
    "random": lambda: tp.importance.RandomImportance(),
}


def tasks() -> Iterator[dict]:
    """What is to be measured, the most wanted first."""
    yield {"what": "dense", "how": "-", "keep": 1.0}
    for place, keep in enumerate(KEEPS):
        for score in SCORES:
            yield {"what": "tokens", "how": score, "keep": keep}
        for what, rates in WIDTHS.items():
            for name in IMPORTANCES:
                yield {"what": what, "how": name, "keep": 1 - rates[place]}
    for keep in BUDGETS:
        yield {"what": "one budget", "how": "heads and MLPs", "keep": keep}
        for score in ("capacity+independence", "random"):
            yield {"what": "one budget", "how": f"heads, MLPs, tokens by {score}", "keep": keep}


def thinned(vit: nn.Module, task: dict) -> nn.Module:
    """A copy of the ViT after what the task says."""
    vit = copy.deepcopy(vit)
    if task["what"] == "tokens":
        return ip.tokens.sparsify_(vit, schedule=dict.fromkeys(STAGES, task["keep"]), score=task["how"])
    if task["what"] in SITE:
        torch.manual_seed(0)
        image = torch.randn(1, 3, SIZE, SIZE)
        rates = {f"blocks.{i}{SITE[task['what']]}": 1 - task["keep"] for i in range(len(vit.blocks))}
        return ip.prune_(vit, image, ip.plan(vit, image, IMPORTANCES[task["how"]](), rates=rates))
    if task["what"] == "one budget":
        return within(vit, task["keep"], score=task["how"].partition(" by ")[2])
    return vit


def within(vit: nn.Module, keep: float, *, score: str) -> nn.Module:
    """Heads and MLP widths share a budget of MACs, and tokens too where a score is named."""
    image, importance = torch.randn(1, 3, SIZE, SIZE), IMPORTANCES["capacity+independence"]()
    tokens = ip.TokenPath(STAGES, score=score) if score else None
    plan = ip.plan(vit, image, importance, budgets=[ip.budgets.macs(keep=keep)], tokens=tokens)
    print(plan, file=sys.stderr)
    return ip.prune_(vit, image, plan, certify=False)


def measure(data: Path, results: Path) -> None:
    done = {key(json.loads(line)) for line in results.read_text().splitlines()} if results.exists() else set()
    todo = [task for task in tasks() if key(task) not in done]
    if not todo:
        return
    vit, decoder = networks(data)
    images, masks = pictures(data, IMAGES, SEED)
    results.parent.mkdir(exist_ok=True)
    with results.open("a") as file:
        for task in tqdm(todo, disable=not sys.stderr.isatty()):
            started = time.process_time()
            net = thinned(vit, task)
            macs = ip.measure(net, images[:1]).macs
            found = [round(v, 4) for v in overlaps(net, decoder, images, masks, BATCH)]
            seconds = round(time.process_time() - started, 1)
            file.write(json.dumps({**task, "macs": macs, "iou": found, "cpu_seconds": seconds}) + "\n")
            file.flush()


def key(task: dict) -> tuple:
    return task["what"], task["how"], task["keep"]


# ------------------------------------------------------------------------------------------------- what came of it


def interval(values: np.ndarray) -> tuple[float, float]:
    """The central 95 % of the means of 4000 resamples of the images."""
    drawn = np.random.default_rng(0).integers(len(values), size=(4000, len(values)))
    low, high = np.quantile(values[drawn].mean(1), [0.025, 0.975])
    return float(low), float(high)


def table(rows: list[dict]) -> None:
    dense = next(row for row in rows if row["what"] == "dense")
    print(f"dense: {dense['macs']:,} MACs, IoU {told(dense)} over {len(dense['iou'])} images")
    chance = {(row["what"], row["keep"]): row for row in rows if row["how"] == "random"}
    for what in ("tokens", "heads", "mlp"):
        print(f"\n| {what}: keep | MACs | by | IoU (95 %) | minus random (95 %) |\n|---|---|---|---|---|")
        for row in sorted((row for row in rows if row["what"] == what), key=lambda row: -row["keep"]):
            against = "-"
            if row["how"] != "random" and (what, row["keep"]) in chance:
                against = gap(row, chance[what, row["keep"]])
            print(f"| {row['keep']:.3g} | {row['macs'] / dense['macs']:.1%} | {row['how']} | {told(row)} | {against} |")


def budget_table(rows: list[dict]) -> None:
    """All axes under one budget, against tokens alone and against heads and MLPs at the same MACs."""
    dense = next(row for row in rows if row["what"] == "dense")
    print("\n| one budget | MACs | by | IoU (95 %) | minus tokens alone (95 %) | minus heads and MLPs (95 %) |")
    print("|---|---|---|---|---|---|")
    for keep, ratio in sorted(BUDGETS.items(), reverse=True):
        alone = {row["how"]: row for row in rows if row["what"] == "tokens" and row["keep"] == ratio}
        shared = {row["how"]: row for row in rows if row["what"] == "one budget" and row["keep"] == keep}
        best = max(alone.values(), key=lambda row: np.mean(row["iou"]))
        print(f"| {keep:.1%} | {best['macs'] / dense['macs']:.1%} | tokens by {best['how']} | {told(best)} | - | - |")
        for how, row in shared.items():
            gaps = [gap(row, best), gap(row, shared["heads and MLPs"]) if row is not shared["heads and MLPs"] else "-"]
            print(f"| {keep:.1%} | {row['macs'] / dense['macs']:.1%} | {how} | {told(row)} | {' | '.join(gaps)} |")


def gap(row: dict, other: dict) -> str:
    """The mean difference, image by image."""
    values = np.array(row["iou"]) - np.array(other["iou"])
    low, high = interval(values)
    return f"{values.mean():+.3f} ({low:+.3f} to {high:+.3f})"


def told(row: dict) -> str:
    values = np.array(row["iou"])
    low, high = interval(values)
    return f"{values.mean():.3f} ({low:.3f} to {high:.3f})"


def plot(rows: list[dict], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    dense = next(row for row in rows if row["what"] == "dense")
    figure, panels = plt.subplots(1, 3, figsize=(13, 4.2), sharey=True, layout="constrained")
    names = list(dict.fromkeys(row["how"] for row in rows if row["what"] == "tokens"))
    colours = dict(zip(names, plt.colormaps["tab10"].colors, strict=False))
    titles = {
        "tokens": "tokens before blocks 3, 6, 9",
        "heads": "heads of every block",
        "mlp": "MLP width of every block",
    }
    for panel, (what, title) in zip(panels, titles.items(), strict=True):
        panel.axhline(np.mean(dense["iou"]), color="0.6", lw=1, ls=":")
        for shift, name in enumerate(names):
            line = sorted((r for r in rows if r["what"] == what and r["how"] == name), key=lambda r: r["keep"])
            if line:
                means = np.array([np.mean(r["iou"]) for r in line])
                ends = np.array([interval(np.array(r["iou"])) for r in line])
                spread = 0.004 * (shift - len(names) / 2)
                panel.errorbar(
                    [r["keep"] + spread for r in line], means, abs(ends.T - means), label=name, color=colours[name],
                    marker="o", ms=4, lw=1.3, elinewidth=0.8,
                )  # fmt: skip
        panel.set(title=title, xlabel="kept" + (" at each stage" if what == "tokens" else ""), xlim=(0.44, 1.0))
        panel.grid(alpha=0.25)
    panels[0].set_ylabel("mask IoU (dotted: dense), 95 % over images")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(names), fontsize=8)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with wheels/ and unpacked/")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="show what was measured so far and draw the plot")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if not options.table:
        if options.data is None:
            parser.error("give --data, the folder that vit_saliency_task.py describes, or --table")
        measure(options.data, options.results)
    rows = [json.loads(line) for line in options.results.read_text().splitlines()]
    table(rows)
    budget_table(rows)
    plot(rows, PLOT)


if __name__ == "__main__":
    main()
