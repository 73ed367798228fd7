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
from torch import nn

import infoprune as ip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["resnet50", "mobilenetv2_100", "convnext_atto"])
    parser.add_argument("--keep", nargs="+", type=float, default=[0.5])
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--round-to", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3, help="comparisons of the built model, for the spread")
    options = parser.parse_args()
    torch.set_num_threads(1)
    where = f"torch {torch.__version__}, one thread, {torch.backends.cpu.get_cpu_capability()}"
    print(f"{where}, load {os.getloadavg()[0]:.1f}")
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
            row(model, x, graph, price, keep, options)
    few_channels()


def few_channels() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(64, 64, 3), nn.ReLU(), nn.Conv2d(64, 64, 3), nn.ReLU(), nn.Conv2d(64, 64, 1))
    x = torch.randn(1, 64, 28, 28)
    plan = ip.plan(model.eval(), x, ip.importance.IndependenceImportance(), rates={"0": 7 / 64})
    pruned = ip.prune_(copy.deepcopy(model), x, plan)
    saved = 1 - plan.prices["macs"].after / plan.prices["macs"].before
    print(f"57 of 64 channels, {saved:.1%} fewer MACs: {ip.compare_latency(model, pruned, x)}")


def row(model, x, graph, price, keep, options) -> None:
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
    print(
        f"  keep {keep:g}: predicted {pruned_us / 1e3:.2f} ms, "
        f"measured {absolute.min():.2f} to {absolute.max():.2f} ms "
        f"({pruned_us / 1e3 / np.median(absolute) - 1:+.1%}); "
        f"dense predicted {dense_us / 1e3:.2f} ms, measured {dense_ms:.2f} ms"
    )
    print(
        f"    ratio predicted {predicted:.3f}, measured {ratios.min():.3f} to {ratios.max():.3f} "
        f"({predicted / np.median(ratios) - 1:+.1%}); {', '.join(c.verdict for c in compared)}; "
        f"MACs x {plan.prices['macs'].after / plan.prices['macs'].before:.3f}"
    )


if __name__ == "__main__":
    main()
