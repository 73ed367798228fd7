"""CPU time of planning, certifying and pruning a timm model, step by step, beside torch-pruning's build and step.

    python benchmarks/surgery_speed.py [--model resnet50] [--repeats 5]

All with L2 importance, in one process, in turn. Ours traces, tries every site out, plans to half the MACs, certifies,
prunes; the host builds its graph and prunes by a ratio, and certifies nothing. The certificate is also timed alone, and
beside two forward passes, which is what it cannot do without.
"""

from __future__ import annotations

import copy

import timm
import torch
import torch_pruning as tp
from interleave import interleaved
from results_file import ResultsFile, arguments
from torch import Tensor, nn

import infoprune as ip

L2 = tp.importance.MagnitudeImportance(p=2)


def planned(model: nn.Module, x: Tensor) -> ip.Plan:
    return ip.plan(model, x, L2, budgets=[ip.budgets.macs(keep=0.5)])


def host(model: nn.Module, x: Tensor) -> None:
    tp.pruner.BasePruner(model, (x,), L2, pruning_ratio=0.3, ignored_layers=[model.get_classifier()]).step()


@torch.no_grad()
def forward_twice(model: nn.Module, x: Tensor) -> None:
    model(x)
    model(x)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    if options.smoke:
        options.model, options.repeats = "resnet18", 1
    torch.set_num_threads(1)
    model = timm.create_model(options.model).eval()
    x = torch.randn(1, *model.pretrained_cfg["input_size"])
    plan = planned(model, x)
    jobs = {
        "ours": lambda: ip.prune_(copied := copy.deepcopy(model), x, planned(copied, x)),
        "host": lambda: host(copy.deepcopy(model), x),
        "plan": lambda: planned(model, x),
        "certificate": lambda: ip.certificate_of(model, x, plan),
        "prune without certificate": lambda: ip.prune_(copy.deepcopy(model), x, plan, certify=False),
        "two forward passes": lambda: forward_twice(model, x),
    }
    results = ResultsFile.of(options, "surgery_speed", key=("model",))
    results.append({"model": options.model, "ms": interleaved(jobs, options.repeats)})


if __name__ == "__main__":
    main()
