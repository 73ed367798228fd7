"""What predicts accuracy after tuning? Random widths at equal MACs, tuned alike, and a regression on them.

    python benchmarks/allocation_landscape.py --nets resnet20 --keep 0.1 --draws 48

Keep fractions are drawn log-normally around one ratio (per site, and per third of the network) and scaled to the
budget.
"""

from __future__ import annotations

import copy

import numpy as np
from allocations import L1
from results_file import ResultsFile, arguments
from task_digits import EXAMPLE, Contest, add_contest, contest_options, dense
from torch import nn

import infoprune as ip
from infoprune.graph import Graph

KEY = ("net", "keep", "draw", "images")


def main() -> None:
    parser = arguments(__doc__)
    add_contest(parser)
    parser.add_argument("--keep", type=float, default=0.1)
    parser.add_argument("--draws", type=int, default=48)
    options = contest_options(parser)
    results = ResultsFile.of(options, "allocation_landscape", KEY)
    for net in options.nets:
        contest, model = Contest(0, options.images), dense(net, options.work)
        graph = Graph.trace(copy.deepcopy(model), EXAMPLE)
        for draw in range(3 if options.smoke else options.draws):
            key = {"net": net, "keep": options.keep, "draw": draw, "images": options.images}
            if not results.has(**key):
                kept = drawn(graph, options.keep, draw)
                results.append({**key, "kept": kept, **contest.run(built(model, kept))})


def drawn(graph: Graph, keep: float, draw: int) -> dict[str, int]:
    """Counts a site at the budget; draw 0 is the uniform ratio."""
    rng = np.random.default_rng(draw)
    sizes = np.array([site.size for site in graph.sites])
    thirds = np.repeat(rng.normal(0, 0.3, 3), -(-len(sizes) // 3))[: len(sizes)]
    relative = np.exp((thirds + rng.normal(0, 0.3, len(sizes))) * (draw > 0))
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
