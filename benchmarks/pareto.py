"""The whole product: accuracy against measured latency, the host's best recipes and ours, equally tuned.

    python benchmarks/pareto.py [--nets resnet20 vgg16] [--keeps 0.5 0.25 0.1] [--seeds 0 1 2]

The host: global L1, isomorphic L1 and group L2, tuned on labels; the isomorphic one also distilled, so that one can see
what comes from where. Ours: widths by the default allocation, by measured curves, and blocks and widths together, all
distilled from the dense network. Latency is that of batches of 16, measured in turn with the dense network.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import mean

import torch
import torch_pruning as tp
from allocations import WAYS, compete, host, pruned
from results_file import ResultsFile, arguments
from task_digits import EXAMPLE, Contest, add_contest, contest_options, dense
from torch import nn

import infoprune as ip
from infoprune.finetune.norms import reestimate_
from infoprune.timing import compare_latency

KEY = ("net", "keep", "recipe", "seed", "images")
BATCH = torch.randn(16, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@dataclass(frozen=True)
class Recipe:
    """How a network gets smaller, and whether the dense one teaches it."""

    way: Callable
    distilled: bool = False


def depth_and_width(model: nn.Module, keep: float, contest: Contest) -> nn.Module:
    """Blocks and channels share the budget; depths are compared by accuracy on calibration pictures."""
    units = ip.skip_units(model, EXAMPLE)
    if not units:
        return pruned(model, contest.example, keep)
    x, y = (torch.cat(parts) for parts in zip(*contest.calibration, strict=True))

    def probe(candidate: nn.Module) -> float:
        candidate = reestimate_(copy.deepcopy(candidate), [x])
        with torch.no_grad():
            return -float(nn.functional.cross_entropy(candidate.eval()(x), y))

    seen = ip.unit_energies(model, contest.calibration, EXAMPLE)
    return pruned(model, contest.example, keep, depth=ip.DepthPath(seen, probe=probe))


RECIPES = {
    "host global L1": Recipe(WAYS["host global L1"]),
    "host isomorphic L1": Recipe(WAYS["host isomorphic L1"]),
    "host group L2": Recipe(host(tp.importance.GroupMagnitudeImportance(p=2), global_pruning=True)),
    "host isomorphic L1, distilled": Recipe(WAYS["host isomorphic L1"], distilled=True),
    "ours, width, distilled": Recipe(lambda model, keep, contest: pruned(model, contest.example, keep), distilled=True),
    "ours, measured width, distilled": Recipe(WAYS["p=-1 curves and layers"], distilled=True),
    "ours, depth and width, distilled": Recipe(depth_and_width, distilled=True),
}


def main() -> None:
    parser = arguments(__doc__)
    add_contest(parser)
    parser.add_argument("--keeps", type=float, nargs="+", default=[0.5, 0.25, 0.1])
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), choices=RECIPES, metavar="RECIPE")
    options = contest_options(parser)
    results = ResultsFile.of(options, "pareto", KEY)
    for seed in options.seeds:
        contest = Contest(seed, options.images)
        for net, keep, recipe in product(options.nets, options.keeps, options.recipes):
            key = {"net": net, "keep": keep, "recipe": recipe, "seed": seed, "images": options.images}
            if not results.has(**key):
                results.append({**key, **entered(dense(net, options.work), RECIPES[recipe], keep, contest)})


def entered(model: nn.Module, recipe: Recipe, keep: float, contest: Contest) -> dict:
    teacher = copy.deepcopy(model).to(memory_format=torch.channels_last) if recipe.distilled else None
    candidate, told = compete(model, recipe.way, keep, contest, teacher)
    times = compare_latency(model, candidate.to(memory_format=torch.contiguous_format), BATCH)
    low, high = times.ratio_interval
    return {**told, "latency": times.ratio, "latency_low": low, "latency_high": high}


def plot(rows: Sequence[dict], dense_accuracy: Mapping[str, float], path: Path) -> None:
    """Accuracy against latency, a panel a network, a line a recipe through its budgets."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    nets = list(dict.fromkeys(row["net"] for row in rows))
    figure, axes = plt.subplots(1, len(nets), figsize=(5 * len(nets), 4.6), squeeze=False, layout="constrained")
    for axis, net in zip(axes[0], nets, strict=True):
        axis.plot([1], [100 * dense_accuracy[net]], "k*", markersize=11, label="dense")
        for recipe in dict.fromkeys(row["recipe"] for row in rows):
            mine = [row for row in rows if row["net"] == net and row["recipe"] == recipe]
            keeps = sorted({row["keep"] for row in mine})
            at = [[row for row in mine if row["keep"] == keep] for keep in keeps]
            x, y = ([mean(row[of] for row in group) for group in at] for of in ("latency", "after"))
            ours = recipe.startswith("ours")
            axis.plot(
                x, [100 * value for value in y], "o-" if ours else "s--", linewidth=2 if ours else 1, label=recipe
            )
        axis.set(xlabel="latency / dense latency, measured", ylabel="accuracy after tuning, %", title=net)
        axis.grid(alpha=0.3)
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
