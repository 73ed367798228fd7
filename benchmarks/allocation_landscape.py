"""What predicts accuracy after tuning? Random widths at equal MACs, tuned alike, beside what each utility says of them.

    python benchmarks/allocation_landscape.py --nets resnet20 --keep 0.1 --draws 30

Keep fractions are drawn log-normally around one ratio (per site, and per third of the network) and scaled to the
budget.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from allocations import L1, measured, observed
from results_file import ResultsFile, arguments
from task_digits import EXAMPLE, Contest, add_contest, contest_options, dense
from torch import nn

import infoprune as ip
from infoprune.graph import Graph

KEY = ("net", "keep", "draw", "images")
UTILITIES = (1.0, 0.0, -0.5, -1.0, -2.0)


def main() -> None:
    parser = arguments(__doc__)
    add_contest(parser)
    parser.add_argument("--keep", type=float, default=0.1)
    parser.add_argument("--draws", type=int, default=30)
    options = contest_options(parser)
    results = ResultsFile.of(options, "allocation_landscape", KEY)
    for net in options.nets:
        contest, model = Contest(0, options.images), dense(net, options.work)
        graph = Graph.trace(copy.deepcopy(model), EXAMPLE)
        for draw in range(3 if options.smoke else options.draws):
            key = {"net": net, "keep": options.keep, "draw": draw, "images": options.images}
            if not results.has(**key):
                kept = drawn(graph, options.keep, draw)
                told = {"kept": kept, "utilities": utilities(graph, weights_of(net, options.work), kept)}
                results.append({**key, **told, **contest.run(built(model, kept))})


@cache
def weights_of(net: str, work: Path) -> dict[str, dict[str, float]]:
    """Everything that may predict: what sites weigh by each layer importance."""
    model, contest = dense(net, work), Contest(0)
    graph = Graph.trace(copy.deepcopy(model), EXAMPLE)
    seen, found = observed(model, contest), measured(model, contest)
    sizes = np.array([site.size for site in graph.sites], float)
    shares = ip.budgets.macs(keep=1.0).cost(graph).gradient(sizes) * sizes
    return {
        "layers": ip.layerwise.uniform()(graph),
        "share of MACs": dict(zip((site.name for site in graph.sites), shares.tolist(), strict=True)),
        "nHSIC": ip.layerwise.nhsic(seen)(graph),
        "relevance": ip.layerwise.nhsic_relevance(seen)(graph),
        "curves": replace(found, trust=1.0)(graph),
        "curves and layers": replace(found, trust=0.5)(graph),
    }


def utilities(graph: Graph, weights: dict[str, dict[str, float]], kept: dict[str, int]) -> dict[str, list[float]]:
    """What these widths are worth by each layer importance, at each p of UTILITIES."""
    shares = {site.name: kept[site.name] / site.size for site in graph.sites}
    return {
        name: [
            sum(weight * worth(shares[site], p) for site, weight in of.items()) / sum(of.values()) for p in UTILITIES
        ]
        for name, of in weights.items()
    }


def worth(share: float, p: float) -> float:
    return math.log(share) if p == 0 else (share**p - 1) / p


def drawn(graph: Graph, keep: float, draw: int, near: Mapping[str, int] | None = None) -> dict[str, int]:
    """Counts a site at the budget, around the uniform ratio or others; draw 0 is these themselves."""
    rng = np.random.default_rng(draw)
    sizes = np.array([site.size for site in graph.sites])
    middle_shares = np.array([near[site.name] for site in graph.sites]) / sizes if near else 1.0
    thirds = np.repeat(rng.normal(0, 0.3, 3), -(-len(sizes) // 3))[: len(sizes)]
    relative = middle_shares * np.exp((thirds + rng.normal(0, 0.3, len(sizes))) * (draw > 0))
    price = ip.budgets.macs(keep=keep).cost(graph)
    low, high = 0.0, 3.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if price(counts(sizes, relative * middle)) <= keep * price(sizes) else (low, middle)
    return dict(zip((site.name for site in graph.sites), counts(sizes, relative * low).tolist(), strict=True))


def counts(sizes: np.ndarray, shares: np.ndarray) -> np.ndarray:
    return np.clip(np.round(sizes * shares), 1, sizes).astype(int)


def built(model: nn.Module, kept: dict[str, int]) -> nn.Module:
    copied = copy.deepcopy(model)
    sizes = {site.name: site.size for site in Graph.trace(copied, EXAMPLE).sites}
    plan = ip.plan(copied, EXAMPLE, L1, rates={name: 1 - count / sizes[name] for name, count in kept.items()})
    return ip.prune_(copied, EXAMPLE, plan, certify=False)


if __name__ == "__main__":
    main()
