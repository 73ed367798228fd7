"""What observing costs beside the plain forward passes, in one process, and what common spellings cost.

    python benchmarks/observe_cost.py                         # ResNet-50 at 224 px, 256 images, no labels: minutes
    python benchmarks/observe_cost.py --labels --images 96    # with classes, so that responses are kept as well
    python benchmarks/observe_cost.py --images 64 --pairwise-images 32

Plain passes and observing take turns batch by batch; CPU seconds of one thread are compared, which other
programs on the machine disturb less than wall time. Extra memory is the growth of the process's peak while
observing over what the plain passes reached. "Pairwise" is what common CKA code does with the same batches:
it keeps every layer's map, flattens it, and computes both Gram matrices for each pair of layers anew.
"""

from __future__ import annotations

import resource
from itertools import combinations

import timm
import torch
from interleave import cpu_ms, interleaved
from results_file import ResultsFile, arguments
from torch import Tensor, nn

import infoprune as ip


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--labels", action="store_true", help="give classes, so that responses are kept as well")
    parser.add_argument("--pairwise-images", type=int, default=8, help="0 leaves the pairwise spelling out")
    options = parser.parse_args()
    if options.smoke:
        options.model, options.images, options.batch, options.size = "resnet18", 16, 8, 64
    torch.set_num_threads(1)
    torch.manual_seed(0)
    results = ResultsFile.of(options, "observe_cost", key=("what", "model", "labels"))
    model = timm.create_model(options.model).eval()
    images = torch.randn(options.batch, 3, options.size, options.size)
    about = {"model": options.model, "size": options.size, "batch": options.batch, "labels": options.labels}
    results.append({"what": "beside plain passes", **about, **beside_plain(model, images, options)})
    if options.pairwise_images:
        found = beside_pairwise(model, images[: options.pairwise_images])
        results.append({"what": "beside pairwise", **about, "images": options.pairwise_images, "ms": found})


def beside_plain(model: nn.Module, images: Tensor, options) -> dict:
    """The peak is taken of plain passes first; observing may then only raise it."""
    loader = [(images, torch.arange(len(images)) % 4) if options.labels else images]
    ip.observe(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), [torch.randn(8, 4)], progress=False)
    for _ in range(2):
        plain(model, images)
    base, rounds = peak_mib(), max(1, options.images // options.batch)
    found = interleaved({"plain": lambda: plain(model, images), "observe": lambda: seen(model, loader)}, rounds, warm=0)
    return {"images": rounds * options.batch, "ms": found, "extra_mib": round(peak_mib() - base, 1)}


def beside_pairwise(model: nn.Module, x: Tensor) -> dict[str, list[float]]:
    """Milliseconds beyond the forward pass."""
    forward = cpu_ms(lambda: plain(model, x))
    ours = cpu_ms(lambda: seen(model, [x])) - forward
    return {"ours": [ours], "pairwise": [cpu_ms(lambda: pairwise(model, x)) - forward]}


@torch.no_grad()
def plain(model: nn.Module, x: Tensor) -> Tensor:
    return model(x)


def seen(model: nn.Module, loader: list) -> ip.Observations:
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


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
