"""Mask IoU of a real ViT-S/14 against what is left of its tokens, heads and MLP widths, alone and together, untrained.

    python benchmarks/vit_saliency.py --data DATA            # goes on where it was stopped; about 15 CPU minutes
    python benchmarks/make_results.py --plots                # the tables, and the plot among others

DATA holds what `vit_saliency_task.py` names. A row has the IoU of every image: intervals are over images, and
differences are taken image by image. A small run is of random weights and noise.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import timm
import torch
import torch_pruning as tp
from results_file import ResultsFile, arguments, interval
from torch import Tensor, nn
from tqdm import tqdm
from vit_saliency_task import SIZE, Decoder, networks, overlaps, pictures

import infoprune as ip
import infoprune.tokens

IMAGES, SEED, BATCH = 32, 3, 16
STAGES = (3, 6, 9)
SCORES = ("capacity_independence", "capacity", "independence", "class_attention", "l2", "random", "paper")
KEEPS = (0.7, 0.9, 0.5)
WIDTHS = {"heads": (2 / 6, 1 / 6, 3 / 6), "mlp": (0.25, 0.1, 0.5)}  # rates
SITE = {"heads": ".attn.qkv", "mlp": ".mlp.fc1"}
BUDGETS = {0.854: 0.9, 0.624: 0.7}  # of MACs, with the keep ratio at which tokens alone cost as much
IMPORTANCES = {
    "capacity_independence": lambda: ip.importance.CapacityIndependenceImportance(),
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
        for score in ("capacity_independence", "random"):
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
    image, importance = torch.randn(1, 3, SIZE, SIZE), IMPORTANCES["capacity_independence"]()
    tokens = ip.TokenPath(STAGES, score=score) if score else None
    plan = ip.plan(vit, image, importance, budgets=[ip.budgets.macs(keep=keep)], tokens=tokens)
    print(plan, file=sys.stderr)
    return ip.prune_(vit, image, plan, certify=False)


def material(data: Path | None) -> tuple[nn.Module, nn.Module, Tensor, Tensor]:
    """ViT, decoder, pictures and masks; without data random weights and noise."""
    if data:
        return *networks(data), *pictures(data, IMAGES, SEED)
    vit = timm.create_model("vit_small_patch14_dinov2", img_size=SIZE, num_classes=0)
    return vit.eval(), Decoder().eval(), torch.randn(2, 3, SIZE, SIZE), torch.rand(2, SIZE, SIZE) > 0.5


def measure(data: Path | None, todo: list[dict], results: ResultsFile) -> None:
    vit, decoder, images, masks = material(data)
    for task in tqdm(todo, disable=not sys.stderr.isatty()):
        net = thinned(vit, task)
        macs = ip.measure(net, images[:1]).macs
        found = [round(v, 4) for v in overlaps(net, decoder, images, masks, BATCH)]
        results.append({**task, "macs": macs, "iou": found})


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
                ends = np.array([interval(r["iou"]) for r in line])
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
    parser = arguments(__doc__)
    parser.add_argument("--data", type=Path, help="folder with wheels/ and unpacked/")
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = ResultsFile.of(options, "vit_saliency", ("what", "how", "keep"))
    everything = list(tasks())
    if options.smoke:
        everything = list({task["what"]: task for task in reversed(everything)}.values())
    elif options.data is None:
        parser.error("give --data, the folder that vit_saliency_task.py describes, or --smoke")
    if todo := [task for task in everything if not results.has(**task)]:
        measure(options.data, todo, results)


if __name__ == "__main__":
    main()
