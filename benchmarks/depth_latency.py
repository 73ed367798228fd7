"""At equal MACs: is a network faster with fewer blocks or with fewer channels?

    python benchmarks/depth_latency.py [--models resnet50 resnet56] [--keep 0.5] [--rounds 30] [--smoke]

One network keeps as many blocks as the budget allows; the other's channels then get exactly what the first costs.
Timing is interleaved round by round on one thread, and the ratio's interval is a bootstrap over rounds.
Weights are random: speed only.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from pathlib import Path

import numpy as np
import torch
from depth_task import ResNet
from torch import Tensor, nn

import infoprune as ip
from infoprune.graph.verify import evaluating

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=["resnet50", "resnet56"], default=["resnet56", "resnet50"])
    parser.add_argument("--keep", type=float, nargs="+", default=[0.7, 0.5])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "depth_latency.jsonl")
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.smoke:
        options.models, options.keep, options.rounds = ["resnet56"], [0.5], 3
        options.out = options.out.with_name("depth_latency_smoke.jsonl")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    for name in options.models:
        for keep in options.keep:
            row = {"model": name, "keep": keep, **compared(name, keep, options.rounds)}
            with options.out.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(json.dumps(row), flush=True)


def compared(name: str, keep: float, rounds: int) -> dict:
    """Milliseconds of the dense, the shallow and the narrow network, and the ratio of the last two."""
    torch.manual_seed(0)
    dense, x = built(name)
    shallow = pruned(dense, x, shallow_plan(dense, x, keep))
    macs = ip.measure(shallow, x).macs
    importance = ip.importance.CapacityImportance()
    narrow = pruned(dense, x, ip.plan(dense, x, importance, budgets=ip.budgets.macs(at_most=macs), round_to=8))
    aligned = ip.measure(narrow, x).macs
    times = interleaved({"dense": dense, "shallow": shallow, "narrow": narrow}, x, rounds)
    ratio, low, high = bootstrap(times["narrow"], times["shallow"])
    medians = {f"{k}_ms": round(float(np.median(v)), 2) for k, v in times.items()}
    return {
        **medians,
        "narrow_over_shallow": round(ratio, 3),
        "interval_95": [round(low, 3), round(high, 3)],
        "macs": {"dense": ip.measure(dense, x).macs, "shallow": macs, "narrow": aligned},
        "units_left": len(ip.skip_units(shallow, x)),
        "batch": len(x),
        "rounds": rounds,
        "threads": torch.get_num_threads(),
    }


def built(name: str) -> tuple[nn.Module, Tensor]:
    if name == "resnet56":
        return ResNet(56, 16).eval(), torch.randn(16, 3, 32, 32)
    import timm

    return timm.create_model("resnet50").eval(), torch.randn(1, 3, 224, 224)


def shallow_plan(model: nn.Module, x: Tensor, keep: float) -> ip.Plan:
    """The most units within the budget, drawn with a seed: random weights carry no information."""
    return ip.plan_depth(model, x, {}, budgets=ip.budgets.macs(keep=keep), strategy="random", seed=0)


def pruned(model: nn.Module, x: Tensor, plan: ip.Plan) -> nn.Module:
    return ip.prune_(copy.deepcopy(model), x, plan).eval()


def interleaved(models: dict[str, nn.Module], x: Tensor, rounds: int) -> dict[str, list[float]]:
    """One run of each in turn, in alternating order, after three to warm up; ms of processor time."""
    times: dict[str, list[float]] = {name: [] for name in models}
    with torch.inference_mode():
        for number in range(-3, rounds):
            for name in sorted(models, reverse=bool(number % 2)):
                with evaluating(models[name]):
                    begun = time.process_time()
                    models[name](x)
                    spent = 1e3 * (time.process_time() - begun)
                if number >= 0:
                    times[name].append(spent)
    return times


def bootstrap(above: list[float], below: list[float], draws: int = 10_000) -> tuple[float, float, float]:
    """The ratio of medians over rounds with its 95 % interval."""
    above_, below_ = np.array(above), np.array(below)
    index = np.random.default_rng(0).integers(0, len(above_), (draws, len(above_)))
    ratios = np.median(above_[index], 1) / np.median(below_[index], 1)
    return float(np.median(above_) / np.median(below_)), *np.quantile(ratios, [0.025, 0.975]).tolist()


if __name__ == "__main__":
    main()
