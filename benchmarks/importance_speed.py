"""How fast the filter importances are beside the host's, as ratios within one process.

    python benchmarks/importance_speed.py              # ResNet-50: minutes, because of the pairwise spelling
    python benchmarks/importance_speed.py --vgg        # also torchvision's vgg16_bn, classifier included
    python benchmarks/importance_speed.py --smoke      # a ResNet-18

Over all groups of the network: the host's L1 and L2 magnitude, Taylor (after its backward pass, which is not timed) and
FPGM, ours, and the straightforward spelling with batched `torch.cdist`, which holds every pairwise distance of a layer
(in batches of filters where they exceed 1 GiB). Extra memory is resident memory at its highest while ours runs, over
that before. FPGM and the pairwise spelling run once, after the rounds. What is on file is not measured again.
"""

from __future__ import annotations

import ctypes
import resource
import threading
from collections.abc import Callable
from pathlib import Path

import timm
import torch
import torch_pruning as tp
import torchvision
from interleave import cpu_ms, interleaved
from results_file import ResultsFile, arguments
from torch import Tensor, nn

from infoprune.importance import CapacityImportance, CapacityIndependenceImportance, IndependenceImportance
from infoprune.importance.base import kernels_of, members_of
from infoprune.importance.normalisation import min_max

OURS = CapacityIndependenceImportance()
INTERLEAVED = {
    "L2": tp.importance.MagnitudeImportance(p=2),
    "L1": tp.importance.MagnitudeImportance(p=1),
    "Taylor": tp.importance.GroupTaylorImportance(),
    "ours": OURS,
    "capacity": CapacityImportance(),
    "independence": IndependenceImportance(),
}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--vgg", action="store_true", help="also vgg16_bn against the host's FPGM")
    parser.add_argument("--repeats", type=int, default=7, help="interleaved repeats of the fast ones")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    results = ResultsFile.of(options, "importance_speed", key=("network", "what"))
    if options.smoke:
        timm_network(results, "resnet18", 2)
        return
    timm_network(results, "resnet50", options.repeats)
    if options.vgg:
        vgg16_bn(results, max(2, options.repeats // 3))


def timm_network(results: ResultsFile, name: str, repeats: int) -> None:
    model = timm.create_model(name).eval()
    model(torch.randn(2, 3, 64, 64)).square().sum().backward()  # gradients for Taylor
    groups = groups_of(model, model.fc, size=64)
    about = {"network": name, "groups": len(groups)}
    if not results.has(network=name, what="all groups"):
        found = interleaved({each: lambda i=imp: scored(i, groups) for each, imp in INTERLEAVED.items()}, repeats)
        floor, memory = gram_floor_ms(model), extra_mib(lambda: scored(OURS, groups))
        results.append({**about, "what": "all groups", "ms": found, "gram_ms": floor, "extra_mib": memory})
    if not results.has(network=name, what="pruner and step"):
        steps = {each: lambda each=each: step_of(name, model, INTERLEAVED[each]) for each in ("L2", "ours")}
        results.append({**about, "what": "pruner and step", "ms": interleaved(steps, max(2, repeats // 2))})
    if not results.has(network=name, what="once"):
        once = {
            "ours": lambda: scored(OURS, groups),
            "FPGM": lambda: scored(tp.importance.FPGMImportance(), groups),
            "pairwise spelling": lambda: [pairwise_spelling(w) for g in groups for w in filters_in(g)],
        }
        results.append({**about, "what": "once", "ms": {each: [cpu_ms(job)] for each, job in once.items()}})


def vgg16_bn(results: ResultsFile, repeats: int) -> None:
    if results.has(network="vgg16_bn", what="once"):
        return
    model = torchvision.models.vgg16_bn().eval()
    groups = groups_of(model, model.classifier[-1], size=224)
    memory = extra_mib(lambda: scored(OURS, groups))
    fast = [cpu_ms(lambda: scored(OURS, groups)) for _ in range(repeats)]
    slow = cpu_ms(lambda: scored(tp.importance.FPGMImportance(), groups))
    about = {"network": "vgg16_bn", "groups": len(groups), "what": "once"}
    results.append({**about, "ms": {"ours": fast, "FPGM": [slow]}, "extra_mib": memory})


def scored(importance: tp.importance.Importance, groups: list[tp.Group]) -> list[Tensor]:
    return [importance(group) for group in groups]


def groups_of(model: nn.Module, classifier: nn.Module, size: int) -> list[tp.Group]:
    graph = tp.DependencyGraph().build_dependency(model, (torch.randn(1, 3, size, size),))
    return list(graph.get_all_groups(ignored_layers=[classifier]))


def step_of(name: str, model: nn.Module, importance: tp.importance.Importance) -> None:
    """A whole run of the host: build the pruner, prune half of every group."""
    fresh = timm.create_model(name)
    fresh.load_state_dict(model.state_dict())
    tp.pruner.BasePruner(
        fresh,
        (torch.randn(1, 3, 64, 64),),
        importance,
        pruning_ratio=0.5,
        ignored_layers=[fresh.fc],
        in_channel_groups={},
        out_channel_groups={},
        num_heads={},
    ).step()


def filters_in(group: tp.Group) -> list[Tensor]:
    return [kernels_of(m.layer, m.name) for m in members_of(group) if m.role in ("out", "depthwise")]


@torch.no_grad()
def pairwise_spelling(weights: Tensor, sigma: float = 0.8) -> Tensor:
    """Equations 1 to 7 with one batched `torch.cdist` per layer."""
    kernels = weights.shape[1]
    batch = max(1, 2**28 // kernels**2)
    sims = torch.cat([torch.cdist(part, part).sum(-1) for part in weights.split(batch)])
    p = sims.softmax(-1)
    capacity = 1 + (p * p.clamp(min=1e-38).log2()).sum(-1)
    flat = weights.flatten(1)
    independence = torch.cdist(flat, flat).sum(-1)
    return sigma * min_max(capacity) + (1 - sigma) * min_max(independence)


@torch.no_grad()
def gram_floor_ms(model: nn.Module) -> float:
    """Products of each layer's filters with each other, the lower triangle left out in eighths: what eq. 6 needs."""
    flats = [m.weight.flatten(1) for m in model.modules() if isinstance(m, nn.Conv2d)]

    def products() -> None:
        for flat in flats:
            rows = max(128, len(flat) // 8)
            for first in range(0, len(flat), rows):
                flat[first : first + rows] @ flat[first:].T

    return min(cpu_ms(products) for _ in range(5))


def extra_mib(job: Callable[[], object]) -> float:
    """Largest resident memory seen while the job runs, sampled every millisecond, over that before it.

    What earlier jobs freed goes back to the system first, or this one would reuse it unseen.
    """
    ctypes.CDLL(None).malloc_trim(0)
    before, seen, done = resident_mib(), [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.001):
            seen.append(resident_mib())

    watcher = threading.Thread(target=watch)
    watcher.start()
    job()
    done.set()
    watcher.join()
    return round(max(0.0, max(seen) - before), 1)


def resident_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


if __name__ == "__main__":
    main()
