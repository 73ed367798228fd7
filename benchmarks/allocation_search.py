"""Do widths found by trying beat the widths that are certified best? A search, then the same tuning for both.

    python benchmarks/allocation_search.py [--nets resnet20 vgg16] [--keeps 0.25 0.1] [--draws 0 1 2] [--rounds 15]
        [--each 8] [--priors 0 1] [--images 0 1280] [--rates 0.05 0.017 0.005]
    python benchmarks/allocation_search.py --smoke

Digits on photographs. The search starts at the default plan (units by what the others cannot make up for, utility
p = -1) and moves multiply-adds between sites: in each round so many neighbours of the best widths, pruned and
compensated on 256 pictures without labels, are judged by their divergence from the dense network on 512 others. With a
prior of 1 that divergence counts times how much more the widths cost by the utility of p = -1 than the default's. Start
and end are then compensated on the same 512 pictures, judged on pictures that no search saw, and tuned on labelled ones
at every rate. Rows go on where the program was stopped.
"""

from __future__ import annotations

import argparse
import copy
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from compensation_tuning import TEST, tuned
from results_file import ResultsFile, arguments
from task_digits import BATCH, EXAMPLE, NETS, WORK, Contest, accuracy, dense
from torch import Tensor, nn
from tqdm import tqdm

import infoprune as ip
from compensation import agreement
from infoprune.compensation.compensating import compensate_together_
from infoprune.planning.deciding import decided
from infoprune.planning.scored import Scored, Terms
from infoprune.surgery import Plan

KEY = ("net", "keep", "draw", "prior", "rounds", "each", "which", "images", "rate")
REFITTED, JUDGED = 256, 512  # pictures in the search
STEPS = (0.05, 0.1, 0.2)  # shares of a site's units that one move takes
Counts = dict[str, int]


@dataclass(frozen=True)
class Search:
    """One network, budget and draw: the start, and how widths are judged."""

    model: nn.Module
    keep: float
    contest: Contest

    @cached_property
    def pictures(self) -> list[Tensor]:
        return [x for x, _ in self.contest.calibration]

    @cached_property
    def others(self) -> Tensor:
        """Pictures without labels by which the search judges; the draw's own, and not those that are tuned on."""
        return torch.cat([x for x, _ in Contest(9_000 + self.contest.seed, images=JUDGED).tuning])

    @cached_property
    def answers(self) -> Tensor:
        return logits(self.model, self.others)

    @cached_property
    def scored(self) -> Scored:
        seen = ip.observe(self.model, self.pictures, samples=len(self.pictures) * BATCH, moments=True, progress=False)
        terms = Terms(budgets=[ip.budgets.macs(keep=self.keep)])
        return Scored.of(self.model, EXAMPLE, ip.importance.ConditionalImportance(seen), terms)

    @cached_property
    def start(self) -> Counts:
        made = decided(self.scored)
        assert made.allocation is not None
        return dict(zip(self.scored.scores, made.allocation.counts.tolist(), strict=True))

    def plan(self, counts: Counts) -> Plan:
        sizes = {site.name: site.size for site in self.scored.graph.sites}
        rates = {name: 1 - count / sizes[name] for name, count in counts.items()}
        return decided(replace(self.scored, terms=replace(self.scored.terms, budgets=(), rates=rates))).plan

    def compensated(self, many: list[Counts], samples: int) -> list[nn.Module]:
        plans = [self.plan(counts) for counts in many]
        pruned = [ip.prune_(copy.deepcopy(self.model), EXAMPLE, plan, certify=False) for plan in plans]
        pairs = [(network, [plan]) for network, plan in zip(pruned, plans, strict=True)]
        compensate_together_(pairs, self.model, self.pictures, samples, progress=False)
        return pruned

    def divergences(self, many: list[Counts]) -> list[float]:
        made = self.compensated(many, REFITTED)
        return [agreement(self.answers, logits(network, self.others))["kl"] for network in made]

    def neighbour(self, counts: Counts, rng: np.random.Generator) -> Counts:
        """One site gives a share of its units, another takes as many as the budget then has room for."""
        [budget] = self.scored.terms.budgets
        problem = self.scored.problem([budget])
        [price], [limit] = problem.costs, problem.limits
        names, kept = list(counts), np.array(list(counts.values()))
        while True:
            giver, taker = rng.choice(len(names), 2, replace=False)
            moved = kept.copy()
            moved[giver] -= max(problem.step[giver], round(rng.choice(STEPS) * kept[giver]))
            while moved[taker] < problem.sizes[taker] and price(moved) <= limit:
                moved[taker] += problem.step[taker]
            moved[taker] -= problem.step[taker] * bool(price(moved) > limit)
            if moved[giver] >= problem.floor[giver] and moved[taker] > kept[taker]:
                return dict(zip(names, moved.tolist(), strict=True))

    def cost(self, counts: Counts) -> float:
        """What the widths cost by the utility that the default makes the most of; 1 at the start."""
        problem = self.scored.problem(self.scored.terms.budgets)
        told = [
            float((problem.weights * (problem.sizes / np.array(list(c.values())) - 1)).sum())
            for c in (counts, self.start)
        ]
        return told[0] / told[1]

    def run(self, options: argparse.Namespace, prior: float) -> tuple[Counts, list[float]]:
        """The best widths, and the divergence of the best after each round."""
        rng = np.random.default_rng(self.contest.seed)
        best, [kl] = self.start, self.divergences([self.start])
        value, path = kl, [kl]
        for _ in tqdm(range(options.rounds), disable=not sys.stderr.isatty()):
            many = [self.neighbour(best, rng) for _ in range(options.each)]
            judged = [(kl * self.cost(c) ** prior, kl, c) for kl, c in zip(self.divergences(many), many, strict=True)]
            first = min(judged, key=lambda one: one[0])
            if first[0] < value:
                value, kl, best = first
            path.append(kl)
        return best, path


@torch.no_grad()
def logits(model: nn.Module, pictures: Tensor) -> Tensor:
    return torch.cat([model.eval()(x) for x in pictures.split(BATCH)])


def told(search: Search, counts: Counts, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The widths compensated as a user would, then tuned on so many pictures at every rate."""
    [start] = search.compensated([counts], len(search.pictures) * BATCH)
    x, _ = search.contest.test
    kl = agreement(logits(search.model, x), logits(start, x))["kl"]
    macs = ip.measure(start, EXAMPLE).macs
    for images in options.images:
        for rate in options.rates if images else [0.0]:
            found = tuned(start, search.contest, images, rate)
            yield {"images": images, "rate": rate, "kl": kl, "macs": macs, "counts": counts, **found}


def chosen() -> argparse.Namespace:
    parser = arguments(__doc__)
    parser.add_argument("--nets", nargs="+", default=["resnet20", "vgg16"], choices=NETS)
    parser.add_argument("--keeps", type=float, nargs="+", default=[0.25, 0.10], help="shares of the MACs that stay")
    parser.add_argument("--draws", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--each", type=int, default=8, help="neighbours that are tried a round")
    parser.add_argument("--priors", type=float, nargs="+", default=[0.0, 1.0], help="powers of the utility's cost")
    parser.add_argument("--images", type=int, nargs="+", default=[0, 1_280], help="to tune on")
    parser.add_argument("--rates", type=float, nargs="+", default=[0.05, 0.017, 0.005], help="learning rates")
    parser.add_argument("--work", type=Path, default=WORK, help="where trained networks are kept")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.smoke:
        options.nets, options.keeps, options.draws, options.priors = ["tiny"], [0.5], [0], [0.0, 1.0]
        options.rounds, options.each, options.images = 1, 2, [0, BATCH]
        options.rates, options.work = [0.05], Path(tempfile.mkdtemp(prefix="smoke-"))
    return options


def main() -> None:
    options = chosen()
    results = ResultsFile.of(options, "allocation_search", KEY)
    for net, draw, keep in product(options.nets, options.draws, options.keeps):
        contest = Contest(draw, images=max(BATCH, *options.images), pictures=TEST)
        search = Search(dense(net, options.work), keep, contest)
        about = {"net": net, "keep": keep, "draw": draw, "rounds": options.rounds, "each": options.each}
        about["dense"] = accuracy(copy.deepcopy(search.model), *contest.test)
        for prior, which in [(0.0, "start"), *((prior, "end") for prior in options.priors)]:
            of = {**about, "prior": prior, "which": which}
            wanted = {name: of[name] for name in KEY[:-2]}
            if results.has(**wanted, images=options.images[-1], rate=options.rates[-1] if options.images[-1] else 0.0):
                continue
            begun = time.process_time()
            counts, path = (search.start, []) if which == "start" else search.run(options, prior)
            of |= {"path": path, "utility_cost": round(search.cost(counts), 4)}
            of["search_cpu_s"] = round(time.process_time() - begun, 1)
            for row in told(search, counts, options):
                results.append(of | row)


if __name__ == "__main__":
    main()
