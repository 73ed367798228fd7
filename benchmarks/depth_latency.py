"""At equal MACs: is a network faster with fewer blocks or with fewer channels?

    python benchmarks/depth_latency.py [--models resnet50 resnet56] [--keep 0.5] [--rounds 30] [--smoke]

One network keeps as many blocks as the budget allows; the other's channels then get exactly what the first costs.
Timing is interleaved round by round on one thread, and the ratio's interval is a bootstrap over rounds.
Weights are random: speed only.
"""

from __future__ import annotations

import copy
import statistics

import torch
from depth_task import ResNet
from interleave import interleaved, ratio
from results_file import ResultsFile, arguments
from torch import Tensor, nn

import infoprune as ip


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--models", nargs="+", choices=["resnet50", "resnet56"], default=["resnet56", "resnet50"])
    parser.add_argument("--keep", type=float, nargs="+", default=[0.7, 0.5])
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.smoke:
        options.models, options.keep, options.rounds = ["resnet56"], [0.5], 3
    results = ResultsFile.of(options, "depth_latency", key=("model", "keep"))
    for name in options.models:
        for keep in options.keep:
            if not results.has(model=name, keep=keep):
                results.append({"model": name, "keep": keep, **compared(name, keep, options.rounds)})


def compared(name: str, keep: float, rounds: int) -> dict:
    """Milliseconds of the dense, the shallow and the narrow network, and the ratio of the last two."""
    torch.manual_seed(0)
    dense, x = built(name)
    shallow = pruned(dense, x, shallow_plan(dense, x, keep))
    macs = ip.measure(shallow, x).macs
    importance = ip.importance.CapacityImportance()
    narrow = pruned(dense, x, ip.plan(dense, x, importance, budgets=ip.budgets.macs(at_most=macs), round_to=8))
    aligned = ip.measure(narrow, x).macs
    models = {"dense": dense, "shallow": shallow, "narrow": narrow}
    with torch.inference_mode():
        times = interleaved({each: lambda m=model: m(x) for each, model in models.items()}, rounds, warm=3)
    measured = ratio(times["narrow"], times["shallow"])
    medians = {f"{k}_ms": round(statistics.median(v), 2) for k, v in times.items()}
    return {
        **medians,
        "narrow_over_shallow": round(measured.value, 3),
        "interval_95": [round(measured.low, 3), round(measured.high, 3)],
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


if __name__ == "__main__":
    main()
