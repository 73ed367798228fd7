"""Reproduces figure 2 of the feature selection paper: true and estimated information of correlated normals.

    OMP_NUM_THREADS=1 python benchmarks/gaussian_mi.py [--samples 400000] [--plot docs/images/gaussian_mi.png]

Top: X and Y are numbers. Bottom: X and Y are pairs, estimated whole and component by component ("patched"). Y
is clustered into K clusters by k-means, X is cut into 30 bins. Five k-means seeds on the same samples show
the spread. The samples have errors of their own: a value counts as above the closed form beyond three
standard errors.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import torch
from results_file import ResultsFile, arguments
from torch import Tensor

from infoprune.estimators import mutual_information as mi

CLUSTERS = (2, 4, 8, 16, 32)
CORRELATIONS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
Results = dict[int, list[mi.MutualInformation]]  # K -> one for each correlation, fields hold one value per seed


def true_information(rho: float, dimensions: int = 1) -> float:
    """-d/2 log(1 - rho^2), eqs. 4 and 6."""
    return -0.5 * dimensions * math.log(1 - rho**2)


def correlated(y: Tensor, noise: Tensor, rho: float) -> Tensor:
    return rho * y + math.sqrt(1 - rho**2) * noise


def estimates(y: Tensor, noise: Tensor, seeds: int) -> Results:
    """Y does not depend on the correlation, so it is clustered once for each K and seed."""
    results = {}
    for k in CLUSTERS:
        labels = torch.stack([mi.cluster_outputs(y, k, seed=seed) for seed in range(seeds)])
        results[k] = [mi.estimate(correlated(y, noise, rho), labels) for rho in CORRELATIONS]
    return results


def table(title: str, results: Results, closed_form: Callable[[float], float]) -> None:
    """The plug-in estimates in nats; * where above the closed form, ! beyond three standard errors."""
    print(f"\n{title}: plug-in, nats")
    print("  rho    true " + "".join(f"    K={k:<4}" for k in CLUSTERS))
    for place, rho in enumerate(CORRELATIONS):
        cells = [mark(results[k][place].value, results[k][place].standard_error, closed_form(rho)) for k in CLUSTERS]
        print(f"{rho:5.2f} {closed_form(rho):7.4f} " + " ".join(cells))


def mark(values: Tensor, errors: Tensor, true: float) -> str:
    value, error = values.mean().item(), errors.mean().item()
    return f"{value:8.4f}" + ("!" if value > true + 3 * error else "*" if value > true else " ")


def summary(results: Results, closed_form: Callable[[float], float]) -> dict:
    """How often and by how much the plug-in (`value`) and the corrected (`excess`) estimate are above the truth."""
    found = {}
    for name in ("value", "excess"):
        means = torch.tensor([[getattr(r, name).mean().item() for r in results[k]] for k in CLUSTERS])
        errors = torch.tensor([[r.standard_error.mean().item() for r in results[k]] for k in CLUSTERS])
        true = torch.tensor([closed_form(rho) for rho in CORRELATIONS])
        related = slice(1, None)  # without information there is nothing to order
        above, beyond = (means > true).sum().item(), (means > true + 3 * errors).sum().item()
        falls = (means[:, related].diff(dim=0) < 0).sum().item()
        over = (means - true).max().item()
        places = {"points": means.numel(), "above": above, "by_at_most": over, "beyond_3_errors": beyond}
        found[name] = {**places, "falls_as_k_grows": falls}
    variance = torch.stack([r.value.var() for k in CLUSTERS for r in results[k]])
    return {**found, "largest_variance_over_seeds": variance.max().item()}


def plot(panels: list[tuple[str, Results, list[tuple[str, Callable[[float], float]]]]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(panels), figsize=(5.2 * len(panels), 4.4), sharey=False)
    for axis, (title, results, curves) in zip(axes, panels, strict=True):
        fine = [0.95 * step / 200 for step in range(201)]
        for (name, curve), line in zip(curves, ("-", "--"), strict=False):
            axis.plot(fine, [curve(rho) for rho in fine], "k" + line, label=name)
        for shade, k in enumerate(CLUSTERS):
            values = torch.stack([r.value for r in results[k]])
            colour = plt.get_cmap("viridis")(shade / len(CLUSTERS))
            axis.errorbar(
                CORRELATIONS,
                values.mean(1),
                values.std(1),
                marker="o",
                ms=3,
                lw=1,
                color=colour,
                label=f"K = {k}",
            )
        axis.set(title=title, xlabel="correlation ρ", ylabel="information (nats)")
        axis.legend(frameon=False, fontsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--samples", type=int, default=400_000, help="numbers; pairs are 2.5 times as many (10^6)")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--plot", type=Path, default=None)
    options = parser.parse_args()
    if options.smoke:
        options.samples, options.seeds = 2000, 2
    torch.set_num_threads(1)
    file = ResultsFile.of(options, "gaussian_mi", key=("panel", "samples"))
    generator = torch.Generator().manual_seed(0)
    pairs = int(2.5 * options.samples)

    one = [torch.randn(options.samples, 1, generator=generator, dtype=torch.float64) for _ in range(2)]
    two = [torch.randn(pairs, 2, generator=generator, dtype=torch.float64) for _ in range(2)]
    panels = []
    for title, (y, noise), curves in (
        ("numbers", one, [("true", true_information)]),
        ("pairs, whole", two, [("true", lambda rho: true_information(rho, 2))]),
        (
            "pairs, patched",
            [part.reshape(-1, 1) for part in two],
            [("true, whole", lambda rho: true_information(rho, 2)), ("true, patched", true_information)],
        ),
    ):
        results = estimates(y, noise, options.seeds)
        table(f"{title}, {len(y):,} samples", results, curves[-1][1])
        told = summary(results, curves[-1][1])
        file.append({"panel": title, "samples": len(y), "seeds": options.seeds, **told})
        panels.append((title, results, curves))
    if options.plot:
        plot(panels, options.plot)


if __name__ == "__main__":
    main()
