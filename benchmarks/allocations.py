"""How many channels of which layer? Widths from every allocation we know, at equal MACs, criterion and tuning.

    python benchmarks/allocations.py [--nets resnet20] [--keeps 0.25 0.1] [--seeds 0 1 2] [--ways "p=-1 curves" ...]

Resumable: one JSON line a network, budget, way and seed. Inside a site L1 decides which channels stay, always.
Accuracy counts twice: with batch norms estimated anew, and after the same tuning on the same pictures.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import torch_pruning as tp
from results_file import ResultsFile, arguments, cpu_seconds
from task_digits import Contest, add_contest, contest_options, dense
from torch import Tensor, nn

import infoprune as ip
from infoprune.layerwise.curves import Curves

KEY = ("net", "keep", "way", "seed", "images")
L1 = tp.importance.MagnitudeImportance(p=1)
PATH = (0.6, 0.4, 0.25, 0.16, 0.1)
FLOOR = 0.05


def pruned(model: nn.Module, x: Tensor, keep: float, *, importance: Callable = L1, **options: Any) -> nn.Module:
    """A copy planned by us at that share of the MACs."""
    plan = ip.plan(model, x, importance, budgets=[ip.budgets.macs(keep=keep)], **{"floor": FLOOR, **options})
    return ip.prune_(copy.deepcopy(model), x, plan, certify=False)


# ------------------------------------------------------------------------------------------------------- the ways


def geometric(utility: float, weighs: Callable[[nn.Module, Contest], Any] | None = None) -> Callable:
    """The geometric program with this utility and these weights."""

    def way(model: nn.Module, keep: float, contest: Contest) -> nn.Module:
        weights = weighs(model, contest) if weighs else None
        return pruned(model, contest.example, keep, utility=utility, layer_importance=weights)

    return way


def solved(solver: str) -> Callable:
    """A baseline that looks at sizes and prices alone."""
    return lambda model, keep, contest: pruned(model, contest.example, keep, solver=solver)


def host(importance: Callable = L1, **options: Any) -> Callable:
    """The host's own ranking at the ratio that meets the budget, found by halves."""

    def way(model: nn.Module, keep: float, contest: Contest) -> nn.Module:
        x, low, high = contest.example, 0.0, 1.0
        limit = keep * ip.measure(model, x).macs
        best = None
        for _ in range(9):
            ratio = (low + high) / 2
            candidate = _by_host(model, x, ratio, importance, **options)
            fits = ip.measure(candidate, x).macs <= limit
            low, high, best = (low, ratio, candidate) if fits else (ratio, high, best)
        if best is None:
            raise RuntimeError(f"the host cannot get to {keep:.0%} of the MACs")
        return best

    return way


def _by_host(model: nn.Module, x: Tensor, ratio: float, importance: Callable, **options: Any) -> nn.Module:
    copied = copy.deepcopy(model)
    head = [m for m in copied.modules() if isinstance(m, nn.Linear)][-1]
    tp.pruner.BasePruner(
        copied, x, importance, pruning_ratio=ratio, ignored_layers=[head], max_pruning_ratio=1 - FLOOR, **options
    ).step()
    return copied


def observed(model: nn.Module, contest: Contest) -> ip.Observations:
    return ip.observe(model, contest.calibration, progress=False)


@cache
def measured(model: nn.Module, contest: Contest) -> Curves:
    """Information curves of the dense network, measured once for all ways of a seed."""
    return ip.layerwise.curves(model, contest.calibration, L1, progress=False, **contest.measuring)


def curves(utility: float, trust: float = 1.0) -> Callable:
    """Measured curves, or their geometric mean with the number of layers that write to a site."""
    return geometric(utility, lambda model, contest: replace(measured(model, contest), utility=utility, trust=trust))


def curves_and_shares(utility: float) -> Callable:
    """Measured curves in their geometric mean with shares of the MACs, which alone lead to the uniform ratio."""

    def weighs(model: nn.Module, contest: Contest) -> Callable:
        found = replace(measured(model, contest), utility=utility, trust=1.0)

        def weights(graph: ip.Graph) -> dict[str, float]:
            sizes = np.array([site.size for site in graph.sites])
            shares = graph.cost("macs").gradient(sizes) * sizes
            return {name: (of * share) ** 0.5 for (name, of), share in zip(found(graph).items(), shares, strict=True)}

        return weights

    return geometric(utility, weighs)


def path(utility: float) -> Callable:
    """Curves measured again on the way to a small budget, nothing trained between."""

    def way(model: nn.Module, keep: float, contest: Contest) -> nn.Module:
        dense_macs = ip.measure(model, contest.example).macs
        for share in [share for share in PATH if share > keep] + [keep]:
            options = {**contest.measuring, "levels": (0.5, 0.75), "utility": utility, "trust": 1.0, "progress": False}
            weights = ip.layerwise.curves(model, contest.calibration, L1, **options)
            left = min(1.0, share * dense_macs / ip.measure(model, contest.example).macs)
            model = pruned(model, contest.example, left, utility=utility, layer_importance=weights, floor=0.4)
        return model

    return way


WAYS: dict[str, Callable[[nn.Module, float, Contest], nn.Module]] = {
    "uniform ratio": solved("uniform"),
    "projection": solved("projection"),
    "host global L1": host(global_pruning=True),
    "host isomorphic L1": host(global_pruning=True, isomorphic=True),
    "p=0": geometric(0.0),
    "p=-1": geometric(-1.0),
    "p=-2": geometric(-2.0),
    "p=-1, all sites alike": geometric(-1.0, lambda m, c: lambda graph: {site.name: 1.0 for site in graph.sites}),
    "p=-1 nHSIC": geometric(-1.0, lambda m, c: ip.layerwise.nhsic(observed(m, c))),
    "p=-1 relevance": geometric(-1.0, lambda m, c: ip.layerwise.nhsic_relevance(observed(m, c))),
    "p=-1 nHSIC and relevance": geometric(-1.0, lambda m, c: ip.layerwise.bottleneck(observed(m, c))),
    "p=-1 curves": curves(-1.0),
    "p=-0.5 curves": curves(-0.5),
    "p=0 curves and layers": curves(0.0, trust=0.5),
    "p=-0.5 curves and layers": curves(-0.5, trust=0.5),
    "p=-1 curves and layers": curves(-1.0, trust=0.5),
    "p=-2 curves and layers": curves(-2.0, trust=0.5),
    "p=-2 curves": curves(-2.0),
    "p=-0.5 curves and shares": curves_and_shares(-0.5),
    "p=-1 curves and shares": curves_and_shares(-1.0),
    "p=-1 curves along the path": path(-1.0),
    "p=-0.5 curves along the path": path(-0.5),
}


# ------------------------------------------------------------------------------------------------------- the runs


def main() -> None:
    parser = arguments(__doc__)
    add_contest(parser)
    parser.add_argument("--keeps", type=float, nargs="+", default=[0.25, 0.1])
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS, metavar="WAY", help=", ".join(WAYS))
    options = contest_options(parser)
    results = ResultsFile.of(options, "allocations", KEY)
    for seed, net in product(options.seeds, options.nets):
        contest, model = Contest(seed, options.images), dense(net, options.work)
        for keep, way in product(options.keeps, options.ways):
            key = {"net": net, "keep": keep, "way": way, "seed": seed, "images": contest.images}
            if not results.has(**key):
                _, told = compete(model, WAYS[way], keep, contest)
                results.append({**key, **told})


def compete(
    model: nn.Module, way: Callable, keep: float, contest: Contest, teacher: nn.Module | None = None
) -> tuple[nn.Module, dict[str, Any]]:
    """The network that this way leads to, what it costs and how well it does."""
    begun, before = cpu_seconds(), ip.measure(model, contest.example)
    candidate = way(model, keep, contest)
    took, after = cpu_seconds() - begun, ip.measure(candidate, contest.example)
    widths = [m.weight.shape[0] for m in candidate.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    told = {"macs": after.macs / before.macs, "params": after.params / before.params, "planning_cpu_s": round(took, 1)}
    return candidate, {**told, **contest.run(candidate, teacher), "widths": widths}


if __name__ == "__main__":
    main()
