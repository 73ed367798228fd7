"""CPU time of trace + plan + prune + certificate on ResNet-50, beside torch-pruning's build + step, in one process.

python benchmarks/surgery_speed.py [timm model]
"""

from __future__ import annotations

import copy
import statistics
import sys
import time
from collections.abc import Callable

import timm
import torch
import torch_pruning as tp

import infoprune as ip


def cpu_seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def ours(model: torch.nn.Module, x: torch.Tensor) -> None:
    importance = tp.importance.MagnitudeImportance(p=2)
    ip.prune_(model, x, ip.plan(model, x, importance, budgets=[ip.budgets.macs(keep=0.5)]))


def host(model: torch.nn.Module, x: torch.Tensor) -> None:
    importance = tp.importance.MagnitudeImportance(p=2)
    pruner = tp.pruner.BasePruner(model, (x,), importance, pruning_ratio=0.3, ignored_layers=[model.get_classifier()])
    pruner.step()


def main(name: str = "resnet50", repeats: int = 5) -> float:
    torch.set_num_threads(1)
    model = timm.create_model(name)
    x = torch.randn(1, *model.pretrained_cfg["input_size"])
    ours(copy.deepcopy(model), x)
    host(copy.deepcopy(model), x)
    pairs = []
    for _ in range(repeats):
        copies = copy.deepcopy(model), copy.deepcopy(model)
        pairs.append((cpu_seconds(lambda: ours(copies[0], x)), cpu_seconds(lambda: host(copies[1], x))))  # noqa: B023
    ratios = [a / b for a, b in pairs]
    print(f"{name}: infoprune {statistics.median(a for a, _ in pairs):.2f} s (trace, trial, plan, certificate, prune)")
    print(f"{name}: torch-pruning {statistics.median(b for _, b in pairs):.2f} s (build, step)")
    print(f"ratio: median {statistics.median(ratios):.2f}, from {min(ratios):.2f} to {max(ratios):.2f}")
    return statistics.median(ratios)


if __name__ == "__main__":
    main(*sys.argv[1:2])
