"""Which channels of a layer? Every criterion we know at the same widths, batch norms estimated anew, equal tuning.

    python benchmarks/criteria.py [--nets resnet20] [--keeps 0.5 0.25 0.12] [--seeds 0 1 2] [--criteria L1 ...]

Widths are those of the uniform ratio at each budget, so that nothing but the choice of channels differs. The host's
Taylor and Hessian scores take their gradients from the calibration pictures. Resumable: one JSON line a run.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import product

import torch
import torch.nn.functional as F
import torch_pruning as tp
from allocations import compete, pruned
from results_file import ResultsFile, arguments
from task_digits import Contest, add_contest, contest_options, dense
from torch import nn

import infoprune as ip

KEY = ("net", "keep", "criterion", "seed", "images")
Criterion = Callable[[nn.Module, Contest], tuple[nn.Module, Callable]]  # the network to score, and its importance


def by(importance: Callable) -> Criterion:
    """From weights alone."""
    return lambda model, contest: (model, importance)


def by_gradients(importance: Callable) -> Criterion:
    """From weights and the gradients of one calibration batch."""

    def criterion(model: nn.Module, contest: Contest) -> tuple[nn.Module, Callable]:
        model = copy.deepcopy(model)
        x, y = contest.calibration[0]
        F.cross_entropy(model(x), y).backward()
        return model, importance

    return criterion


def by_hessian(model: nn.Module, contest: Contest) -> tuple[nn.Module, Callable]:
    """The host accumulates squared gradients picture by picture."""
    model, importance = copy.deepcopy(model), tp.importance.GroupHessianImportance()
    x, y = contest.calibration[0]
    importance.zero_grad()
    for loss in F.cross_entropy(model(x), y, reduction="none"):
        model.zero_grad()
        loss.backward(retain_graph=True)
        importance.accumulate_grad(model)
    return model, importance


def by_responses(importance: Callable) -> Criterion:
    """From the channels' responses to calibration pictures, beside their labels."""
    return lambda model, contest: (model, importance(ip.observe(model, contest.calibration, progress=False)))


CRITERIA: dict[str, Criterion] = {
    "random": by(tp.importance.RandomImportance()),
    "L1": by(tp.importance.GroupMagnitudeImportance(p=1)),
    "L2": by(tp.importance.GroupMagnitudeImportance(p=2)),
    "FPGM": by(tp.importance.FPGMImportance()),
    "BN scale": by(tp.importance.BNScaleImportance()),
    "LAMP": by(tp.importance.LAMPImportance()),
    "Taylor": by_gradients(tp.importance.GroupTaylorImportance()),
    "Hessian": by_hessian,
    "capacity": by(ip.importance.CapacityImportance()),
    "independence": by(ip.importance.IndependenceImportance()),
    "capacity and independence": by(ip.importance.CapacityIndependenceImportance()),
    "independence, readers": by(ip.importance.IndependenceImportance(readers=True)),
    "capacity and independence, readers": by(ip.importance.CapacityIndependenceImportance(readers=True)),
    "both alike, readers": by(ip.importance.CapacityIndependenceImportance(sigma=0.5, readers=True)),
    "energy": by_responses(ip.importance.EnergyImportance),
    "HSIC": by_responses(ip.importance.HSICImportance),
}


def main() -> None:
    parser = arguments(__doc__)
    add_contest(parser)
    parser.add_argument("--keeps", type=float, nargs="+", default=[0.5, 0.25, 0.12])
    parser.add_argument("--criteria", nargs="+", default=list(CRITERIA), choices=CRITERIA, metavar="CRITERION")
    options = contest_options(parser)
    results = ResultsFile.of(options, "criteria", KEY)
    for seed in options.seeds:
        contest = Contest(seed, options.images)
        for net, keep, criterion in product(options.nets, options.keeps, options.criteria):
            key = {"net": net, "keep": keep, "criterion": criterion, "seed": seed, "images": options.images}
            if not results.has(**key):
                _, told = compete(dense(net, options.work), chosen_by(criterion, seed), keep, contest)
                results.append({**key, **told})


def chosen_by(criterion: str, seed: int) -> Callable:
    """A way to a network: the uniform ratio, with the channels that this criterion keeps."""

    def way(model: nn.Module, keep: float, contest: Contest) -> nn.Module:
        torch.manual_seed(seed)
        scored, importance = CRITERIA[criterion](model, contest)
        return pruned(scored, contest.example, keep, importance=importance, solver="uniform")

    return way


if __name__ == "__main__":
    main()
