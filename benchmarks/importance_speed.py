"""How fast the filter importances are, as ratios within one process.

    python benchmarks/importance_speed.py              # ResNet-50: minutes, because of the pairwise spelling
    python benchmarks/importance_speed.py --vgg        # also torchvision's vgg16_bn, classifier included

Compares, over all groups of the network: the host's L2 magnitude, ours, and the straightforward spelling
with batched `torch.cdist`, which holds every pairwise distance of a layer (in batches of filters where they
exceed 1 GiB). Extra memory is resident memory at its highest while ours runs, over that before.
"""

from __future__ import annotations

import argparse
import ctypes
import resource
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path

import timm
import torch
import torch_pruning as tp
import torchvision
from torch import Tensor, nn

from infoprune.importance import CapacityImportance, CapacityIndependenceImportance, IndependenceImportance
from infoprune.importance.base import kernels_of, members_of
from infoprune.importance.normalisation import min_max


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vgg", action="store_true", help="also vgg16_bn against the host's FPGM")
    parser.add_argument("--repeats", type=int, default=7, help="interleaved repeats of the fast ones")
    parser.add_argument("--skip-pairwise", action="store_true", help="leave the pairwise spelling out")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, one thread, {torch.backends.cpu.get_cpu_capability()}")
    resnet50(options.repeats, pairwise=not options.skip_pairwise)
    if options.vgg:
        vgg16_bn(options.repeats)


def resnet50(repeats: int, *, pairwise: bool) -> None:
    model = timm.create_model("resnet50").eval()
    groups = groups_of(model, model.fc, size=64)
    host, ours = tp.importance.MagnitudeImportance(p=2), CapacityIndependenceImportance()
    everyone = {
        "host L2": host,
        "capacity + independence": ours,
        "capacity": CapacityImportance(),
        "independence": IndependenceImportance(),
    }
    ms = interleaved({name: lambda i=imp: [i(group) for group in groups] for name, imp in everyone.items()}, repeats)
    print(f"\nResNet-50, {len(groups)} groups")
    show(ms, baseline="host L2")
    print(f"  Gram products alone, upper half: {gram_floor_ms(model):.0f} ms, what eq. 6 needs by itself")
    print(f"  extra memory of ours: {extra_mib(lambda: [ours(group) for group in groups]):.0f} MiB")
    steps = {name: lambda i=imp: step_of(model, i) for name, imp in list(everyone.items())[:2]}
    print("  a whole pruning run: pruner built, one step at 50 %")
    show(interleaved(steps, 3), baseline="host L2")
    if pairwise:
        slow = timed(lambda: [pairwise_spelling(member) for group in groups for member in filters_in(group)])
        print(f"  pairwise spelling {slow:.0f} ms: {slow / ms['capacity + independence']:.1f}x ours")


def vgg16_bn(repeats: int) -> None:
    model = torchvision.models.vgg16_bn().eval()
    groups = groups_of(model, model.classifier[-1], size=224)
    ours, fpgm = CapacityIndependenceImportance(), tp.pruner.importance.FPGMImportance()
    print(f"\nvgg16_bn, {len(groups)} groups")
    print(f"  extra memory of ours: {extra_mib(lambda: [ours(group) for group in groups]):.0f} MiB")
    fast = statistics.median(timed(lambda: [ours(group) for group in groups]) for _ in range(max(1, repeats // 3)))
    slow = timed(lambda: [fpgm(group) for group in groups])
    print(f"  ours {fast:.0f} ms, host FPGM {slow:.0f} ms (once): {slow / fast:.1f}x ours")


def groups_of(model: nn.Module, classifier: nn.Module, size: int) -> list[tp.Group]:
    graph = tp.DependencyGraph().build_dependency(model, (torch.randn(1, 3, size, size),))
    return list(graph.get_all_groups(ignored_layers=[classifier]))


def step_of(model: nn.Module, importance: tp.importance.Importance) -> None:
    fresh = timm.create_model("resnet50")
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
    """Products of each layer's filters with each other, the lower triangle left out in eighths."""
    flats = [m.weight.flatten(1) for m in model.modules() if isinstance(m, nn.Conv2d)]

    def products() -> None:
        for flat in flats:
            rows = max(128, len(flat) // 8)
            for first in range(0, len(flat), rows):
                flat[first : first + rows] @ flat[first:].T

    return min(timed(products) for _ in range(5))


def interleaved(jobs: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median milliseconds of each, run in turn so that all see the same machine; the first round warms up."""
    rounds = [{name: timed(job) for name, job in jobs.items()} for _ in range(repeats + 1)][1:]
    return {name: statistics.median(each[name] for each in rounds) for name in jobs}


@torch.enable_grad()
def timed(job: Callable[[], object]) -> float:
    """Milliseconds of CPU, on one thread: what others do on the machine counts little."""
    start = time.process_time()
    job()
    return (time.process_time() - start) * 1e3


def show(ms: dict[str, float], baseline: str) -> None:
    for name, value in ms.items():
        print(f"  {name:26s}{value:9.0f} ms {value / ms[baseline]:7.1f}x {baseline}")


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
    return max(seen) - before


def resident_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


if __name__ == "__main__":
    main()
