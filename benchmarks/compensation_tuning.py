"""What compensation is worth before tuning and after tuning on more and more pictures.

    python benchmarks/compensation_tuning.py [--nets resnet20 vgg16 ...] [--keeps 0.25 0.1] [--draws 0 1 2]
        [--images 0 320 1280 3200 12800] [--rates 0.05 0.017 0.005] [--ways "norms anew" "ours"]
    python benchmarks/compensation_tuning.py --smoke

Digits on photographs. "Norms anew" and "ours" start from the same plan (units by what the others cannot make up for,
default widths), "ours, curves" from widths as recipes choose them, "L1, ours" from units by L1 and the same rule for
widths; the others are cuts without this library's choices, at the same MACs: a uniform ratio by L1, and torch-pruning's
rankings of all units by L1. All of a draw see the same 512 pictures without labels, are tuned on the same labelled
pictures at every rate, and are judged by one test; the best rate of a way is the one with the best mean over all draws.
Rows go on where the program was stopped.
"""

from __future__ import annotations

import argparse
import copy
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any

import allocations
import torch
from results_file import ResultsFile, arguments
from task_digits import BATCH, EXAMPLE, NETS, WORK, Contest, accuracy, dense, train
from torch import Tensor, nn
from tqdm import tqdm

import infoprune as ip
from infoprune.compensation.norms import reestimate_
from infoprune.surgery import Plan

TEST = 2_000  # pictures


def host(**options: Any) -> Callable[[nn.Module, float, Contest], Plan]:
    """torch-pruning's own ranking, as the plan that leads to its network."""

    def plan(model: nn.Module, keep: float, contest: Contest) -> Plan:
        return ip.plan_between(model, allocations.host(**options)(model, keep, contest), EXAMPLE)

    return plan


def by_l1(model: nn.Module, keep: float, contest: Contest) -> Plan:
    """The same rule of widths, units by L1."""
    return ip.plan(model, EXAMPLE, allocations.L1, budgets=[ip.budgets.macs(keep=keep)])


def uniform(model: nn.Module, keep: float, contest: Contest) -> Plan:
    return ip.plan(model, EXAMPLE, allocations.L1, budgets=[ip.budgets.macs(keep=keep)], solver="uniform", floor=0.05)


def planned(model: nn.Module, keep: float, contest: Contest) -> Plan:
    return ip.plan(model, EXAMPLE, conditional(model, contest), budgets=[ip.budgets.macs(keep=keep)])


def by_curves(model: nn.Module, keep: float, contest: Contest) -> Plan:
    """Widths as recipes choose them: what each layer loses is measured on the same pictures."""
    pictures, rated = [x for x, _ in contest.calibration], conditional(model, contest)
    weighed = ip.layerwise.curves(model, pictures, rated, samples=BATCH, progress=False)
    return ip.plan(model, EXAMPLE, rated, budgets=[ip.budgets.macs(keep=keep)], layer_importance=weighed)


def conditional(model: nn.Module, contest: Contest) -> ip.importance.ConditionalImportance:
    pictures = [x for x, _ in contest.calibration]
    seen = ip.observe(model, pictures, samples=len(pictures) * BATCH, moments=True, progress=False)
    return ip.importance.ConditionalImportance(seen)


@dataclass(frozen=True)
class Way:
    """What is cut, and whether pictures without labels refit the readers or only estimate batch norms anew."""

    cut: Callable[[nn.Module, float, Contest], Plan]
    refitted: bool = False


isomorphic = host(global_pruning=True, isomorphic=True)
WAYS = {
    "norms anew": Way(planned),
    "ours": Way(planned, refitted=True),
    "ours, curves": Way(by_curves, refitted=True),
    "L1, ours": Way(by_l1, refitted=True),
    "uniform ratio": Way(uniform),
    "host global L1": Way(host(global_pruning=True)),
    "host isomorphic L1": Way(isomorphic),
    "host isomorphic L1, ours": Way(isomorphic, refitted=True),
}


LEAST_DRAWN = 80  # where no picture at all stands on a logarithmic axis
DRAWN = {
    "ours, curves": ("#123a6b", "D"),
    "ours": ("#1f5fa8", "o"),
    "norms anew": ("#8fb3d9", "o"),
    "host isomorphic L1, ours": ("#b5651d", "s"),
    "host isomorphic L1": ("#dba774", "s"),
    "host global L1": ("#9aa3af", "^"),
    "uniform ratio": ("#4b5563", "x"),
}


def made_up(way: str, pruned: nn.Module, model: nn.Module, plan: Plan, contest: Contest) -> nn.Module:
    """The pruned network, changed in place by what pictures without labels say."""
    pictures = [x for x, _ in contest.calibration]
    if WAYS[way].refitted:
        ip.compensate_(pruned, model, pictures, samples=len(pictures) * BATCH, plan=plan, progress=False)
    else:
        reestimate_(pruned, pictures)
    return pruned


def tuned(start: nn.Module, contest: Contest, images: int, rate: float) -> dict[str, Any]:
    """Accuracy of a copy after the first so many pictures; contiguous, as narrow layers crash in channels last."""
    begun, model = time.process_time(), copy.deepcopy(start)
    batches = list(regrouped(contest, images))
    torch.manual_seed(contest.seed)
    if images:
        train(model, batches, len(batches), rate=rate, layout=torch.contiguous_format)
    return {"accuracy": accuracy(model, *contest.test), "tuning_cpu_s": round(time.process_time() - begun, 1)}


@torch.no_grad()
def weights_of(model: nn.Module) -> float:
    """The geometric mean over convolutions of the length of a filter, before any tuning."""
    lengths = [m.weight.flatten(1).norm(dim=1).mean() for m in model.modules() if isinstance(m, nn.Conv2d)]
    return float(torch.stack(lengths).log().mean().exp())


def regrouped(contest: Contest, images: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The first pictures in batches that give at least twenty steps."""
    if images:
        size = max(8, min(BATCH, images // 20))
        x, y = (torch.cat(parts) for parts in zip(*contest.tuning[: -(-images // BATCH)], strict=True))
        yield from zip(x[:images].split(size), y[:images].split(size), strict=True)


def tasks(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The dense networks, then few pictures first, on all networks."""
    for net in options.nets:
        yield {"net": net, "keep": 1.0, "draw": 0, "way": "dense", "images": 0, "rate": 0.0}
    for images, net, keep, draw in product(options.images, options.nets, options.keeps, options.draws):
        for way, rate in product(options.ways, options.rates if images else [0.0]):
            yield {"net": net, "keep": keep, "draw": draw, "way": way, "images": images, "rate": rate}


def chosen() -> argparse.Namespace:
    parser = arguments(__doc__)
    parser.add_argument("--nets", nargs="+", default=["resnet20", "vgg16", "resnet56", "densenet40"], choices=NETS)
    parser.add_argument("--keeps", type=float, nargs="+", default=[0.25, 0.10], help="shares of the MACs that stay")
    parser.add_argument("--draws", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--images", type=int, nargs="+", default=[0, 320, 1_280, 3_200, 12_800], help="to tune on")
    parser.add_argument("--rates", type=float, nargs="+", default=[0.05, 0.017, 0.005], help="learning rates")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--work", type=Path, default=WORK, help="where trained networks are kept")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.smoke:
        options.nets, options.keeps, options.draws = ["tiny"], [0.5], [0]
        options.images, options.rates = [0, BATCH], [0.05]
        options.work = Path(tempfile.mkdtemp(prefix="smoke-"))
    return options


def plot(places: Mapping[tuple[str, float, int], Mapping[str, tuple[float, Mapping[int, float]]]], path: Path) -> None:
    """Accuracy against the labelled pictures that were tuned on, a panel for each cut."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "infoprune"  # the same picture from the same rows
    from matplotlib import pyplot as plt

    cuts = sorted({(net, keep) for net, keep, _ in places if keep < 1}, key=lambda cut: (cut[0], -cut[1]))
    counts = sorted({images for _, _, images in places})
    figure, panels = plt.subplots(
        2, len(cuts) // 2, figsize=(1.8 * len(cuts), 6.4), sharex=True, sharey=True, layout="constrained"
    )
    for panel, cut in zip(panels.T.flat, cuts, strict=True):
        for way, (colour, marker) in DRAWN.items():
            means = {
                images: 100 * mean(sides[way][1].values())
                for (net, keep, images), sides in sorted(places.items())
                if (net, keep) == cut and way in sides
            }
            ticks = [max(images, LEAST_DRAWN) for images in means]
            panel.semilogx(ticks, list(means.values()), color=colour, marker=marker, ms=4, lw=1.4, label=way)
        panel.set_title(f"{cut[0]}, {cut[1]:.0%} of the MACs", loc="left", fontsize="medium")
        panel.set_xticks([LEAST_DRAWN, *counts[1:]], [f"{count:,}" for count in counts], rotation=40)
        panel.minorticks_off()
        panel.spines[["top", "right"]].set_visible(False)
    for panel in panels[-1]:
        panel.set_xlabel("labelled pictures")
    for panel in panels[:, 0]:
        panel.set_ylabel("accuracy, %")
    names, labels = panels[0, -1].get_legend_handles_labels()
    figure.legend(names, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize="small")
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    options = chosen()
    results = ResultsFile.of(options, "compensation_tuning", ("net", "keep", "draw", "way", "images", "rate"))
    starts: dict[tuple[Any, ...], nn.Module] = {}
    for task in tqdm([task for task in tasks(options) if not results.has(**task)], disable=not sys.stderr.isatty()):
        contest = Contest(task["draw"], images=max(options.images), pictures=TEST)
        key = task["net"], task["keep"], task["draw"]
        if task["way"] == "dense":
            starts[key, "dense"] = dense(task["net"], options.work)
        if (key, task["way"]) not in starts:
            starts |= {(key, way): start for way, start in started(key, contest, options).items()}
        start = starts[key, task["way"]]
        macs = ip.measure(start, EXAMPLE).macs
        size = weights_of(start) / weights_of(dense(task["net"], options.work))
        about = {"macs": macs, "weights": round(size, 3)}
        results.append({**task, **about, **tuned(start, contest, task["images"], task["rate"])})


def started(key: tuple[str, float, int], contest: Contest, options: argparse.Namespace) -> dict[str, nn.Module]:
    """The network of each way before any tuning; ways that cut alike share the plan."""
    model = dense(key[0], options.work)
    plans = {cut: cut(model, key[1], contest) for cut in dict.fromkeys(WAYS[way].cut for way in options.ways)}
    starts = {}
    for way in options.ways:
        plan = plans[WAYS[way].cut]
        starts[way] = made_up(way, ip.prune_(copy.deepcopy(model), EXAMPLE, plan, certify=False), model, plan, contest)
    return starts


if __name__ == "__main__":
    main()
