"""What observing costs beside the plain forward passes, in one process, and what common spellings cost.

    python benchmarks/observe_cost.py                                  # ResNet-50 at 224 px, 256 images:
    minutes python benchmarks/observe_cost.py --images 64 --pairwise-images 32

Plain passes and observing take turns batch by batch; CPU seconds of one thread are compared, which other
programs on the machine disturb less than wall time. Extra memory is the growth of the process's peak while
observing over what the plain passes reached. "Pairwise" is what common CKA code does with the same batches:
it keeps every layer's map, flattens it, and computes both Gram matrices for each pair of layers anew.
"""

from __future__ import annotations

import argparse
import gc
import resource
import statistics
import time
from collections.abc import Callable
from itertools import combinations

import timm
import torch
from torch import Tensor, nn

import infoprune as ip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--pairwise-images", type=int, default=8, help="0 leaves the pairwise spelling out")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = timm.create_model(options.model).eval()
    images = torch.randn(options.batch, 3, options.size, options.size)
    loader = [(images, torch.arange(options.batch) % 4)]  # with classes, so that responses are kept as well
    ip.observe(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), [torch.randn(8, 4)], progress=False)
    print(f"torch {torch.__version__}, one thread, {torch.backends.cpu.get_cpu_capability()}")
    print(f"{options.model}, {options.images} images at {options.size} px in batches of {options.batch}")
    for _ in range(2):
        plain(model, images)
    base = peak_mib()
    rounds = []
    for _ in range(max(1, options.images // options.batch)):
        rounds.append((cpu_seconds(lambda: plain(model, images)), cpu_seconds(lambda: seen(model, loader))))
    forward, observing = (statistics.median(times) for times in zip(*rounds, strict=True))
    total = [sum(times) for times in zip(*rounds, strict=True)]
    shares = sorted(b / a - 1 for a, b in rounds)
    added = total[1] / total[0] - 1
    print(f"  plain passes {total[0]:.1f} s, observing {total[1]:.1f} s of CPU: {added:+.1%} in all")
    print(f"  per batch {forward:.2f} s and {observing:.2f} s; added {shares[0]:.1%} to {shares[-1]:.1%}")
    print(f"  extra memory while observing: {peak_mib() - base:.0f} MiB")
    if options.pairwise_images:
        compare_with_pairwise(model, images[: options.pairwise_images])


def compare_with_pairwise(model: nn.Module, x: Tensor) -> None:
    forward = cpu_seconds(lambda: plain(model, x))
    ours = cpu_seconds(lambda: seen(model, [x])) - forward
    pairs = cpu_seconds(lambda: pairwise(model, x)) - forward
    times = f"ours {ours:.2f} s, pairwise {pairs:.1f} s: {pairs / ours:.0f}x"
    print(f"  beyond the forward pass of {len(x)} images: {times}")


@torch.no_grad()
def plain(model: nn.Module, x: Tensor) -> Tensor:
    return model(x)


def seen(model: nn.Module, loader: list[tuple[Tensor, Tensor]]) -> ip.Observations:
    return ip.observe(model, loader, progress=False)


@torch.no_grad()
def pairwise(model: nn.Module, x: Tensor) -> Tensor:
    """Each pair of layers once, from their maps: centre both, two n x n products, Frobenius norms."""
    maps: list[Tensor] = []
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    handles = [m.register_forward_hook(lambda _, __, y: maps.append(y.flatten(1).clone())) for m in layers]
    model(x)
    for handle in handles:
        handle.remove()
    return torch.stack([cka(a, b) for a, b in combinations(maps, 2)])


def cka(x: Tensor, y: Tensor) -> Tensor:
    x, y = x - x.mean(0), y - y.mean(0)
    k, l = x @ x.T, y @ y.T  # noqa: E741
    return (k * l).sum() / (k.norm() * l.norm())


def cpu_seconds(job: Callable[[], object]) -> float:
    gc.collect()
    start = time.process_time()
    job()
    return time.process_time() - start


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
