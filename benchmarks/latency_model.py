"""Predicted against measured latency of pruned networks on this machine's CPU.

    python benchmarks/latency_model.py                               # three networks at keep 0.5: minutes
    python benchmarks/latency_model.py --models resnet50 --keep 0.3 0.5 0.7

The model of latency is measured first (or read from the cache), a plan is made for a latency budget, the
network is built, and both are timed in turn. Absolute times drift with whatever else the machine does between
the two measurements; the predicted ratio pruned / dense is compared with the measured one as well.
"""

from __future__ import annotations

import argparse
import copy
import os
import time

import numpy as np
import timm
import torch
from results_file import ResultsFile, arguments
from torch import nn

import infoprune as ip


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--models", nargs="+", default=["resnet50", "mobilenetv2_100", "convnext_atto"])
    parser.add_argument("--keep", nargs="+", type=float, default=[0.5])
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--round-to", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3, help="comparisons of the built model, for the spread")
    parser.add_argument("--itself", type=int, default=100, help="comparisons of a small model with itself")
    options = parser.parse_args()
    if options.smoke:
        options.models, options.size, options.repeats, options.itself = ["resnet18"], 64, 1, 2
    torch.set_num_threads(1)
    results = ResultsFile.of(options, "latency_model", key=("what", "model", "keep"))
    print(f"load {os.getloadavg()[0]:.1f}")
    for name in options.models:
        torch.manual_seed(0)
        model, x = timm.create_model(name).eval(), torch.randn(1, 3, options.size, options.size)
        started = time.perf_counter()
        graph = ip.Graph.trace(model, x)
        traced = time.perf_counter()
        price = ip.budgets.latency(keep=0.5).cost(graph)
        measured = time.perf_counter()
        print(f"{name}: traced in {traced - started:.1f} s, latency model in {measured - traced:.1f} s")
        for keep in options.keep:
            results.append(row(name, model, x, graph, price, keep, options))
    results.append(few_channels())
    results.append(itself(options.itself))


def few_channels() -> dict:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(64, 64, 3), nn.ReLU(), nn.Conv2d(64, 64, 3), nn.ReLU(), nn.Conv2d(64, 64, 1))
    x = torch.randn(1, 64, 28, 28)
    plan = ip.plan(model.eval(), x, ip.importance.IndependenceImportance(), rates={"0": 7 / 64})
    pruned = ip.prune_(copy.deepcopy(model), x, plan)
    saved = 1 - plan.prices["macs"].after / plan.prices["macs"].before
    found = ip.compare_latency(model, pruned, x)
    told = {"ratio": found.ratio, "interval": found.ratio_interval, "difference": found.difference}
    return {"what": "57 of 64 channels", "model": "three convolutions", "keep": 57 / 64, "macs_saved": saved, **told}


def itself(comparisons: int) -> dict:
    """How often a model is told apart from a copy of itself."""
    model, x = nn.Sequential(nn.Conv2d(16, 32, 3), nn.ReLU(), nn.Conv2d(32, 16, 3)).eval(), torch.randn(1, 16, 28, 28)
    same = copy.deepcopy(model)
    found = [ip.compare_latency(model, same, x, seconds=0.3, seed=seed).difference for seed in range(comparisons)]
    right = found.count("no difference")
    return {"what": "itself", "model": "two convolutions", "keep": 1.0, "comparisons": comparisons, "right": right}


def row(name: str, model: nn.Module, x: torch.Tensor, graph, price, keep: float, options: argparse.Namespace) -> dict:
    budget = ip.budgets.latency(keep=keep, progress=False)
    plan = ip.plan(model, x, ip.importance.IndependenceImportance(), budgets=[budget], round_to=options.round_to)
    pruned = ip.prune_(copy.deepcopy(model), x, plan, certify=False)
    kept = {edit.site.name: edit.keeps for edit in plan.edits}
    dense_us = price([site.size for site in graph.sites])
    pruned_us = price([kept.get(site.name, site.size) for site in graph.sites])
    predicted = pruned_us / dense_us
    compared = [ip.compare_latency(model, pruned, x, keep=keep, seconds=5, seed=i) for i in range(options.repeats)]
    ratios = np.array([c.ratio for c in compared])
    absolute = np.array([c.pruned_ms for c in compared])
    dense_ms = np.median([c.dense_ms for c in compared])
    return {
        "what": "budget",
        "model": name,
        "keep": keep,
        "predicted_ratio": predicted,
        "measured_ratio": [float(ratios.min()), float(ratios.max())],
        "ratio_error": float(predicted / np.median(ratios) - 1),
        "ms_error": float(pruned_us / 1e3 / np.median(absolute) - 1),
        "dense_ms": {"predicted": dense_us / 1e3, "measured": float(dense_ms)},
        "verdicts": [c.verdict for c in compared],
        "macs_ratio": plan.prices["macs"].after / plan.prices["macs"].before,
    }


if __name__ == "__main__":
    main()
