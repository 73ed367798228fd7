"""Draws what the first page and docs/concepts.md show: site, plan, surgery and compensation on one small network.

    python benchmarks/idea_picture.py            # writes docs/images/{idea,coupled,certificate}.svg; a second

Nothing in the pictures is invented: weights, scores, what leaves and both errors are those of the network that
`example()` makes, computed by the library. Colours are mid-tones on a light card, readable in light and dark pages.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import torch
from torch import Tensor, nn

import infoprune as ip

IMAGES = Path(__file__).parent.parent / "docs" / "images"
KEEP, GONE, INK, FAINT, WARM = "#0f8b8d", "#b8bec6", "#24313f", "#66727f", "#d9722e"
CELL = 24
STYLE = (
    "text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;fill:#24313f;font-size:19px}"
    ".title{font-size:24px;font-weight:600}.faint{fill:#66727f}"
)


@dataclass(frozen=True)
class Example:
    """A network of two layers, what was planned for it, and how far its answers are off, before and after the refit."""

    dense: nn.Sequential
    pruned: nn.Sequential
    refitted: nn.Sequential
    scores: list[float]
    kept: tuple[int, ...]
    prices: tuple[float, float]
    difference: float
    errors: tuple[float, float]


@torch.no_grad()
def example() -> Example:
    """Six hidden units of which four stay; inputs are correlated, so that what stays can say what left."""
    torch.manual_seed(3)
    dense = nn.Sequential(nn.Linear(4, 6, bias=False), nn.ReLU(), nn.Linear(6, 3)).double().eval()
    mixing = torch.randn(2, 4, dtype=torch.float64)
    data = torch.randn(512, 2, dtype=torch.float64) @ mixing + 0.3 * torch.randn(512, 4, dtype=torch.float64)
    loader, x = list(data.split(64)), data[:2]
    importance = ip.importance.ConditionalImportance(ip.observe(dense, loader, moments=True, progress=False))
    plan = ip.plan(dense, x, importance, rates=1 / 3)
    pruned = ip.prune_(copy.deepcopy(dense), x, plan)
    refitted = copy.deepcopy(pruned)
    ip.compensate_(refitted, dense, loader, plan=plan, progress=False)
    wanted = dense(data)

    def error(network: nn.Module) -> float:
        """Squared error of the answers over their variance."""
        return float((network(data) - wanted).pow(2).mean() / (wanted - wanted.mean(0)).pow(2).mean())

    graph = ip.Graph.trace(dense, x)
    (edit,) = plan.edits
    price = plan.prices["macs"]
    return Example(
        dense, pruned, refitted,
        scores=importance(graph.group(graph.sites[0].name)[0]).tolist(),
        kept=tuple(edit.kept),
        prices=(price.before, price.after),
        difference=ip.certificate_of(dense, x, plan).difference,
        errors=(error(pruned), error(refitted)),
    )  # fmt: skip


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:g}" y="{y:g}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>'


def box(x: float, y: float, width: float, height: float, fill: str, **more: str) -> str:
    rest = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in more.items())
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" fill="{fill}"{rest}/>'


def matrix(
    x: float, y: float, weight: Tensor, *, gone_rows: Sequence[int] = (), gone_columns: Sequence[int] = ()
) -> str:
    """A grid whose cells are the darker, the larger the weight; what leaves is grey."""
    largest = float(weight.detach().abs().max())
    cells = []
    for i, row in enumerate(weight.tolist()):
        for j, value in enumerate(row):
            leaves = i in gone_rows or j in gone_columns
            fill, strength = (GONE, "0.35") if leaves else (KEEP, f"{0.15 + 0.85 * abs(value) / largest:.2f}")
            cells.append(box(x + CELL * j, y + CELL * i, CELL - 2, CELL - 2, fill, fill_opacity=strength, rx="3"))
    return "".join(cells)


def frame(x: float, y: float, rows: int, columns: int) -> str:
    return box(x - 4, y - 4, CELL * columns + 6, CELL * rows + 6, "none", stroke=WARM, stroke_width="3", rx="5")


def site(it: Example) -> str:
    unit = next(i for i in range(6) if i not in it.kept)
    first, last = it.dense[0].weight, it.dense[2].weight
    return (
        text(0, 26, "1  Site", "title") + text(0, 54, "What leaves together: a row of one layer", "faint")
        + text(0, 78, "and a column of the next are one unit.", "faint")
        + matrix(20, 104, first) + frame(20, 104 + CELL * unit, 1, 4)
        + matrix(190, 140, last) + frame(190 + CELL * unit, 140, 3, 1)
    )  # fmt: skip


def planned(it: Example) -> str:
    before, after = it.prices
    most = max(it.scores)
    bars = "".join(
        box(14 + 52 * i, 230 - 118 * score / most, 36, 118 * score / most + 2, KEEP if i in it.kept else GONE, rx="3")
        for i, score in enumerate(it.scores)
    )
    return (
        text(0, 26, "2  Plan", "title") + text(0, 54, "Information ranks units, a budget says", "faint")
        + text(0, 78, f"how many stay: {before:g} MACs become {after:g}.", "faint")
        + bars + box(0, 234, 330, 2, FAINT)
    )  # fmt: skip


def surgery(it: Example) -> str:
    gone = [i for i in range(6) if i not in it.kept]
    first, last = it.dense[0].weight, it.dense[2].weight
    return (
        text(0, 26, "3  Surgery", "title") + text(0, 54, "Cut, then compared with the original", "faint")
        + text(0, 78, f"with these units at zero: off by {it.difference:.2g}.", "faint")
        + matrix(20, 104, first, gone_rows=gone) + matrix(190, 140, last, gone_columns=gone)
    )  # fmt: skip


def compensation(it: Example) -> str:
    longest = max(it.errors)
    after, refit = (230 * error / longest for error in it.errors)
    return (
        text(0, 26, "4  Compensation", "title") + text(0, 54, "What stays says what left: the reader is", "faint")
        + text(0, 78, "refitted from unlabelled data. No training.", "faint")
        + matrix(20, 112, it.refitted[2].weight)
        + text(146, 130, "error of the answers", "faint")
        + box(146, 144, 0.62 * after, 20, GONE, rx="3") + text(154 + 0.62 * after, 161, f"{it.errors[0]:.1%}")
        + box(146, 172, 0.62 * refit, 20, KEEP, rx="3") + text(154 + 0.62 * refit, 189, f"{it.errors[1]:.1%}")
        + text(20, 224, "grey: after surgery; green: refitted", "faint")
    )  # fmt: skip


def coupled() -> str:
    """Three layers around a sum: channel j of all of them is one unit."""

    def layer(x: float, y: float, name: str) -> str:
        channels = "".join(
            box(
                x + 8,
                y + 10 + 21 * i,
                104,
                16,
                WARM if i == 2 else KEEP,
                rx="3",
                fill_opacity="1" if i == 2 else "0.45",
            )
            for i in range(5)
        )
        return box(x, y, 120, 122, "none", stroke=FAINT, rx="6") + channels + text(x + 60, y + 148, name, "", "middle")

    def arrow(x1: float, y1: float, x2: float, y2: float) -> str:
        return f'<path d="M{x1} {y1} L{x2} {y2}" stroke="{INK}" stroke-width="2" marker-end="url(#tip)"/>'

    return (
        f'<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        f'<path d="M0 0 L8 4 L0 8 z" fill="{INK}"/></marker></defs>'
        + layer(20, 30, "layer A") + layer(240, 100, "layer B") + layer(560, 30, "layer C")
        + arrow(142, 70, 418, 70) + arrow(142, 130, 236, 150) + arrow(362, 150, 422, 92) + arrow(462, 76, 556, 82)
        + f'<circle cx="440" cy="74" r="20" fill="none" stroke="{INK}" stroke-width="2"/>'
        + text(440, 81, "+", "title", "middle")
        + text(20, 290, "A and B are added, and C reads the sum: channel 3 of all", "faint")
        + text(20, 316, "three (orange) can only leave together. It is one unit of one site.", "faint")
    )  # fmt: skip


def certified(it: Example) -> str:
    """The comparison behind a certificate."""
    gone = [i for i in range(6) if i not in it.kept]
    first = it.dense[0].weight
    return (
        text(20, 36, "the original, units at zero") + matrix(60, 56, first, gone_rows=gone)
        + text(420, 36, "the smaller network") + matrix(470, 80, it.pruned[0].weight)
        + text(330, 130, "=", "title", "middle") + text(330, 156, "?", "title", "middle")
        + text(20, 240, "Both run on the same inputs in double precision; the largest difference", "faint")
        + text(20, 266, f"of their answers is the certificate. Here it is {it.difference:.2g}.", "faint")
    )  # fmt: skip


def card(body: str, width: float, height: float, told: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img" '
        f'aria-label="{escape(told, quote=True)}"><style>{STYLE}</style>'
        + box(0, 0, width, height, "#fbfaf7", rx="14")
        + body
        + "</svg>\n"
    )


def idea(it: Example) -> str:
    places = ((28, 16), (456, 16), (28, 290), (456, 290))
    panels = (site, planned, surgery, compensation)
    body = "".join(
        f'<g transform="translate({x} {y})">{draw(it)}</g>' for (x, y), draw in zip(places, panels, strict=True)
    )
    return card(body, 880, 556, "Four steps: a site and its units; a plan; surgery with a certificate; compensation")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=IMAGES, help="the folder for the pictures (default docs/images)")
    out = parser.parse_args().out
    it = example()
    (out / "idea.svg").write_text(idea(it), encoding="utf-8")
    (out / "coupled.svg").write_text(
        card(coupled(), 720, 336, "Three layers around a sum share channels"), encoding="utf-8"
    )
    (out / "certificate.svg").write_text(
        card(certified(it), 720, 290, "The pruned network beside the original with the same units at zero"),
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
