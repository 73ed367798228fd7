"""The picture of the whole product: accuracy against measured latency, a panel a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean

Points = Sequence[tuple[float, Sequence[float]]]  # latency and the points of each draw, a budget each
DRAWN = {
    "host": ("#b5651d", "s", "--", "best of the host"),
    "ours": ("#1f5fa8", "o", "-", "ours, the same MACs"),
    "fast": ("#2a9d8f", "D", "", "ours, as fast as the host's"),
}


def plot(
    panels: Mapping[str, Mapping[str, Points]], dense: Mapping[str, float], what: Sequence[str], path: Path
) -> None:
    """Means over draws with bars from the least to the largest; `what` each panel's points are."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(panels), figsize=(3.1 * len(panels), 3.8), squeeze=False, layout="constrained")
    for axis, (name, sides), unit in zip(axes[0], panels.items(), what, strict=True):
        if name in dense:
            axis.plot([1], [dense[name]], "k*", markersize=11, label="dense")
        for side, points in sides.items():
            colour, marker, line, label = DRAWN[side]
            middle = [mean(draws) for _, draws in points]
            reach = [[m - min(d), max(d) - m] for m, (_, d) in zip(middle, points, strict=True)]
            axis.errorbar(
                [latency for latency, _ in points], middle, list(zip(*reach, strict=True)), color=colour, marker=marker,
                linestyle=line or "none", markersize=5, linewidth=1.4, capsize=2, label=label,
            )  # fmt: skip
        axis.set(xlabel="latency / dense latency", ylabel=unit)
        axis.set_title(name, loc="left", fontsize="medium")
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25)
    figure.legend(
        *axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=min(4, len(panels)), frameon=False
    )
    figure.savefig(path, dpi=110)
