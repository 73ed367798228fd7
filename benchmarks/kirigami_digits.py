"""Accuracy without any training of one small network, cut by torch-kirigami and by infoprune to the same parameters.

    python benchmarks/kirigami_digits.py [--seeds 0 1 2] [--keep 0.5 0.25]
    python benchmarks/kirigami_digits.py --smoke

A residual network of three blocks learns scikit-learn's digits. torch-kirigami cuts it by its `Greedy(GroupMagnitude)`,
infoprune by torch-pruning's L2 and by its own conditional importance, all with one budget of parameters. Each cut is
judged as it is and after `compensate_` on 512 unlabelled digits: torch-kirigami has no compensation in its package, and
ours works on what others cut (`plan_between`). Needs `pip install torch-kirigami`.
"""

from __future__ import annotations

import copy
import sys
import time
from importlib.metadata import version
from typing import Any

import torch
import torch_pruning as tp
from results_file import ResultsFile, arguments
from sklearn.datasets import load_digits
from third_party_zoo import installed
from torch import Tensor, nn
from torch.nn import functional as F

import infoprune as ip

WAYS = ("kirigami", "l2", "conditional")
TRAIN, CALIBRATION, BATCH, RATE = 1400, 512, 70, 4e-3


class Block(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.one, self.two = (nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(2))
        self.norm_one, self.norm_two = nn.BatchNorm2d(width), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        inner = torch.relu(self.norm_one(self.one(x)))
        return torch.relu(x + self.norm_two(self.two(inner)))


class Net(nn.Module):
    def __init__(self, width: int = 24):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.blocks, self.head = nn.Sequential(*(Block(width) for _ in range(3))), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(torch.relu(self.norm(self.stem(x)))).mean((2, 3)))


def digits(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pictures and labels to learn from and to be judged by."""
    told = load_digits()
    pictures, labels = torch.tensor(told.images, dtype=torch.float32)[:, None] / 8 - 1, torch.tensor(told.target)
    order = torch.randperm(len(pictures), generator=torch.Generator().manual_seed(seed))
    train, test = order[:TRAIN], order[TRAIN:]
    return pictures[train], labels[train], pictures[test], labels[test]


def trained(pictures: Tensor, labels: Tensor, seed: int, epochs: int) -> nn.Module:
    torch.manual_seed(seed)
    model = Net()
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.05)
    steps = epochs * len(range(0, len(pictures), BATCH))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    for _ in range(epochs):
        for batch in torch.randperm(len(pictures)).split(BATCH):
            optimizer.zero_grad()
            F.cross_entropy(model(pictures[batch]), labels[batch]).backward()
            optimizer.step()
            schedule.step()
    return model.eval()


@torch.no_grad()
def accuracy(model: nn.Module, pictures: Tensor, labels: Tensor) -> float:
    return round((model.eval()(pictures).argmax(1) == labels).double().mean().item(), 4)


def cut(dense: nn.Module, way: str, keep: float, loader: list[Tensor]) -> tuple[nn.Module, Any]:
    """The smaller network and the plan that tells what left, for compensation."""
    pruned, x = copy.deepcopy(dense), loader[0][:2]
    if way == "kirigami":
        by_kirigami_(pruned, x, keep)
        return pruned, ip.plan_between(dense, pruned)
    importance: Any = tp.importance.GroupMagnitudeImportance(p=2)
    if way == "conditional":
        importance = ip.importance.ConditionalImportance(ip.observe(dense, loader, moments=True, progress=False))
    plan = ip.plan(dense, x, importance, budgets=[ip.budgets.params(keep=keep)])
    return ip.prune_(pruned, x, plan), plan


def by_kirigami_(model: nn.Module, x: Tensor, keep: float) -> None:
    from torch_kirigami import DependencyGraph
    from torch_kirigami.pruning import Greedy, GroupMagnitude, ParameterBudget, Pruner

    pruner = Pruner(model, graph=DependencyGraph.build(model, args=(x,)))
    most = int(keep * sum(parameter.numel() for parameter in model.parameters()))
    budget = ParameterBudget(max_params=most)
    pruner.prune(pruner.discover_candidates(), budget=budget, strategy=Greedy(GroupMagnitude(p=2)))


def measured(
    dense: nn.Module, way: str, keep: float, loader: list[Tensor], test: tuple[Tensor, Tensor]
) -> dict[str, Any]:
    began = time.process_time()
    pruned, plan = cut(dense, way, keep, loader)
    spent = time.process_time() - began
    params = [sum(p.numel() for p in model.parameters()) for model in (pruned, dense)]
    told = {"params": round(params[0] / params[1], 4), "cut": accuracy(pruned, *test), "made_cpu_s": round(spent, 2)}
    ip.compensate_(pruned, dense, loader, progress=False, plan=plan)
    return {**told, "compensated": accuracy(pruned, *test)}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--keep", type=float, nargs="+", default=[0.5, 0.25], help="shares of the parameters")
    options = parser.parse_args()
    if not installed("torch-kirigami"):
        sys.exit("torch-kirigami is not installed: pip install torch-kirigami")
    torch.set_num_threads(1)
    epochs = 1 if options.smoke else 12
    seeds, keeps = ([0], [0.5]) if options.smoke else (options.seeds, options.keep)
    results = ResultsFile.of(options, "kirigami_digits", ("seed", "keep", "way"))
    for seed in seeds:
        pictures, labels, *test = digits(seed)
        dense = trained(pictures, labels, seed, epochs)
        about = {"dense": accuracy(dense, *test), "kirigami": version("torch-kirigami")}
        loader = list(pictures[:CALIBRATION].split(64))
        for keep in keeps:
            for way in WAYS:
                if not results.has(seed=seed, keep=keep, way=way):
                    told = measured(dense, way, keep, loader, (test[0], test[1]))
                    results.append({"seed": seed, "keep": keep, "way": way, **about, **told})


if __name__ == "__main__":
    main()
