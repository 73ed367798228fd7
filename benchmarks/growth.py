"""How cost grows: with images, channels, layers, tokens and features, ours beside what one would write or take instead.

    python benchmarks/growth.py [--curves importance observe ...]    # a few minutes; finished points are skipped
    python benchmarks/growth.py --plot docs/images/growth.png        # only draws what is on file

Each point is the least CPU time of a few rounds in turn, in one process. The exponent b of cost = a n^b is the slope
of least squares through the logarithms over all points of a curve; sizes double.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import torch_pruning as tp
from depth_task import ResNet
from interleave import exponent, interleaved
from results_file import ResultsFile, arguments, read
from torch import Tensor, nn

Jobs = dict[str, Callable[[], object]]
MOST_ROUNDS = 20


def importance(channels: int) -> Jobs:
    """Scores of a 3 x 3 convolution with as many inputs as outputs."""
    from infoprune.importance import CapacityIndependenceImportance

    model = nn.Sequential(nn.Conv2d(channels, channels, 3), nn.ReLU(), nn.Conv2d(channels, 8, 1))
    model(x := torch.randn(1, channels, 4, 4)).square().sum().backward()
    graph = tp.DependencyGraph().build_dependency(model, (x,))
    group = graph.get_pruning_group(model[0], tp.prune_conv_out_channels, list(range(channels)))
    found = {
        "ours": CapacityIndependenceImportance(),
        "L1": tp.importance.MagnitudeImportance(p=1),
        "Taylor": tp.importance.GroupTaylorImportance(),
        "FPGM": tp.importance.FPGMImportance(),
    }
    return {name: lambda i=each: i(group) for name, each in found.items()}


def observe_images(images: int) -> Jobs:
    """nHSIC between the layers of a small ResNet over a stream in batches of 16."""
    import infoprune as ip

    model = ResNet(20).eval()
    batches = list(torch.randn(images, 3, 32, 32).split(16))
    jobs: Jobs = {"observe": lambda: ip.observe(model, batches, progress=False)}
    return jobs | {"plain passes": lambda: plain(model, batches)}


def observe_layers(layers: int) -> Jobs:
    """nHSIC between all pairs of layers, from their maps of 32 images: streaming, and CKA again for each pair."""
    from infoprune.estimators import hsic

    maps = [torch.randn(32, 4096) for _ in range(layers)]
    ours = lambda: hsic.pairwise_nhsic(torch.stack([hsic.linear_gram(x) for x in maps]))  # noqa: E731
    return {"ours": ours, "CKA of each pair": lambda: [cka(x, y) for x in maps for y in maps]}


def energy_samples(samples: int) -> Jobs:
    """Energy dependence over 20 classes of 64 features: one matrix of distances, and dcor for each pair of classes."""
    from itertools import combinations

    import dcor

    from infoprune.estimators import energy

    features, labels = torch.randn(samples, 64, dtype=torch.float64), torch.arange(samples) % 20
    groups = [features[labels == c].numpy() for c in range(20)]
    loop = lambda: max(float(dcor.energy_distance(x, y)) for x, y in combinations(groups, 2))  # noqa: E731
    return {"ours": lambda: energy.dependence_estimate(features, labels), "dcor": loop}


def allocation(sites: int) -> Jobs:
    """A chain of convolutions to half its MACs."""
    from infoprune.allocation import Posynomial, Problem, allocate

    exponents = np.eye(sites) + np.eye(sites, k=1)
    price = Posynomial(np.random.default_rng(0).uniform(1, 9, sites), exponents)
    sizes = [256] * sites
    weights = np.random.default_rng(1).uniform(0.2, 1.0, sites)
    problem = Problem(weights=weights, sizes=sizes, costs=[price], limits=[price(sizes) / 2], floor=0.1)
    return {name: lambda s=name: allocate(problem, s) for name in ("geometric", "geometric-cvxpy", "slsqp")}


def certificate(blocks: int) -> Jobs:
    """A residual network of so many blocks at half its MACs, beside two forward passes and the host's whole run."""
    import copy

    import infoprune as ip

    model, x = ResNet(2 * blocks + 2).eval(), torch.randn(1, 3, 32, 32)
    plan = ip.plan(model, x, tp.importance.MagnitudeImportance(p=2), budgets=[ip.budgets.macs(keep=0.5)])
    jobs: Jobs = {"certificate": lambda: ip.certificate_of(model, x, plan), "two passes": lambda: plain(model, [x, x])}
    return jobs | {"host prunes": lambda: host_prunes(copy.deepcopy(model), x)}


def tokens(count: int) -> Jobs:
    """The default score of so many tokens of width 384, and the same with all distances."""
    import infoprune.tokens
    from infoprune.tokens import Arriving

    block = nn.Identity()
    arriving = Arriving(torch.randn(1, count + 1, 384), 1, block, 6)
    return {name: lambda s=name: infoprune.tokens.scores[s](arriving) for name in ("capacity_independence", "paper")}


def features(count: int) -> Jobs:
    """So many 32 x 32 maps of smooth levels as one HEVC picture, and deflated."""
    from infoprune.wire import HEVC, Zlib, tile

    rough = torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    levels = (255 * nn.functional.interpolate(rough, size=32, mode="bicubic").clamp(0, 1)).byte()[:, 0]
    mosaic = tile(levels).numpy()
    return {name: lambda c=codec: c.encode(mosaic) for name, codec in (("HEVC QP 30", HEVC(30)), ("zlib", Zlib()))}


CURVES: dict[str, tuple[Callable[[int], Jobs], tuple[int, ...], str]] = {
    "importance": (importance, (64, 128, 256, 512), "channels"),
    "observe": (observe_images, (16, 32, 64, 128), "images"),
    "layers": (observe_layers, (8, 16, 32, 64), "layers"),
    "energy": (energy_samples, (256, 512, 1024, 2048), "samples"),
    "allocation": (allocation, (16, 32, 64, 128), "sites"),
    "certificate": (certificate, (3, 6, 12, 24), "blocks"),
    "tokens": (tokens, (49, 98, 196, 392), "tokens"),
    "HEVC": (features, (16, 32, 64, 128), "features"),
}


@torch.no_grad()
def plain(model: nn.Module, batches: list[Tensor]) -> None:
    for batch in batches:
        model(batch)


def host_prunes(model: nn.Module, x: Tensor) -> None:
    magnitude = tp.importance.MagnitudeImportance(p=2)
    last = [m for m in model.modules() if isinstance(m, nn.Linear)]
    tp.pruner.BasePruner(model, (x,), magnitude, pruning_ratio=0.3, ignored_layers=last).step()


def cka(x: Tensor, y: Tensor) -> Tensor:
    x, y = x - x.mean(0), y - y.mean(0)
    k, m = x @ x.T, y @ y.T
    return (k * m).sum() / (k.norm() * m.norm())


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--curves", nargs="+", choices=CURVES, default=list(CURVES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--plot", type=Path, help="draw what is on file, measure nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = ResultsFile.of(options, "growth", key=("curve", "n"))
    if options.plot:
        plot(read(results.path), options.plot)
        return
    if options.smoke:
        options.rounds = 1
    for curve in options.curves:
        make, sizes, unit = CURVES[curve]
        for n in sizes[:1] if options.smoke else sizes:
            if not results.has(curve=curve, n=n):
                torch.manual_seed(0)
                results.append({"curve": curve, "n": n, "unit": unit, "ms": timed(make(n), options.rounds)})


def timed(jobs: Jobs, least: int) -> dict[str, list[float]]:
    """Short jobs get more rounds, up to half a second's worth."""
    once = sum(times[0] for times in interleaved(jobs, 1).values())
    return interleaved(jobs, max(least, min(MOST_ROUNDS, int(500 / once))))


def lines_of(rows: list[dict], curve: str) -> Iterator[tuple[str, list[int], list[float], float]]:
    """(name, sizes, least milliseconds, exponent) of everything on one panel."""
    points = sorted((row for row in rows if row["curve"] == curve), key=lambda row: row["n"])
    for name in points[0]["ms"] if points else ():
        sizes, costs = [row["n"] for row in points], [min(row["ms"][name]) for row in points]
        yield name, sizes, costs, exponent(sizes, costs) if len(sizes) > 1 else float("nan")


def plot(rows: list[dict], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    found = [curve for curve in CURVES if any(row["curve"] == curve for row in rows)]
    figure, axes = plt.subplots(2, -(-len(found) // 2), figsize=(13, 6.4), squeeze=False, layout="constrained")
    for axis, curve in zip(axes.flat, found, strict=False):
        for name, sizes, costs, power in lines_of(rows, curve):
            axis.loglog(sizes, costs, marker="o", ms=4, lw=1.4, label=f"{name}: n^{power:.1f}")
        axis.set_title(curve, fontsize=10)
        axis.set_xticks(sizes, [str(n) for n in sizes])
        axis.set_xticks([], minor=True)
        axis.set_xlabel(CURVES[curve][2])
        axis.set_ylim(bottom=axis.get_ylim()[0], top=4 * axis.get_ylim()[1])
        axis.legend(frameon=False, fontsize=7.5, loc="upper left")
        axis.grid(alpha=0.25)
    for axis in axes.flat[len(found) :]:
        axis.remove()
    for row in axes:
        row[0].set_ylabel("CPU ms, one thread")
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main()
