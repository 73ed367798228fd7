"""What docs/depth.md shows: the units of each family, and the energies of a trained network on the line.

python benchmarks/depth_pictures.py families
python benchmarks/depth_pictures.py energies [--depth 32] [--images 12800] [--clusters 7] [--checkpoint FILE]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import timm
import torch
import torch.nn.functional as F
from depth_task import ResNet, accuracy, train

import infoprune as ip
from infoprune.estimators.kmeans import kmeans_1d
from infoprune.surgery.blocks import Shortcut

IMAGES = Path(__file__).parent.parent / "docs" / "images"
X = torch.zeros(1, 3, 16, 16)
FAMILIES = [
    ("resnet18", 64), ("resnet50", 64), ("resnetv2_50", 64), ("resnext50_32x4d", 64), ("seresnet50", 64),
    ("regnety_002", 64), ("res2net50_26w_4s", 64), ("mobilenetv2_100", 64), ("mobilenetv3_small_100", 64),
    ("efficientnet_b0", 64), ("efficientnetv2_rw_t", 64), ("convnext_atto", 64), ("densenet121", 64),
    ("vit_tiny_patch16_224", 224), ("swin_tiny_patch4_window7_224", 224), ("mixer_s16_224", 224),
    ("pvt_v2_b0", 64), ("xception41", 64), ("fastvit_t8", 64), ("vgg11", 64),
]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["families", "energies"])
    parser.add_argument("--depth", type=int, default=32)
    parser.add_argument("--images", type=int, default=12_800)
    parser.add_argument("--clusters", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    families() if options.what == "families" else energies(options)


def families() -> None:
    from infoprune.depth import removals

    print("| timm model | units | of which keep a shortcut | halves | parameters in units |\n|---|--:|--:|--:|--:|")
    for name, size in FAMILIES:
        model = timm.create_model(name)
        edits = removals(model, torch.randn(1, 3, size, size))
        total = sum(p.numel() for p in model.parameters())
        names = {n for e in edits for n in e.lost}
        share = sum(p.numel() for n, p in model.named_parameters() if n in names) / total
        kept = sum(e.unit.stand_ins[0].kind == "shortcut" for e in edits)
        halves = sum(len(e.unit.stand_ins) > 1 or e.unit.stand_ins[0].kind == "zero" for e in edits)
        print(f"| {name} | {len(edits)} | {kept or '-'} | {halves or '-'} | {share:.0%} |", flush=True)


def energies(options: argparse.Namespace) -> None:
    torch.manual_seed(0)
    model = ResNet(options.depth, 16)
    images, labels = handwritten()
    learn, test = slice(0, 1400), slice(1400, None)
    train(model, Batches(images[learn], labels[learn]), options.images, rate=0.1)
    seen = ip.unit_energies(model, zip(images[learn].split(128), labels[learn].split(128), strict=True), X)
    plan = ip.plan_depth(model, X, seen, clusters=options.clusters)
    pictures = images[test], labels[test]
    before = accuracy(model, *pictures)
    draw(seen, plan, options.clusters, IMAGES / "depth_energies.png")
    print("unit        energy   s.e.   stays")
    for unit, (value, error) in seen.items():
        print(f"{unit:<10} {value:>7.3f}  {error:>5.3f}   {'yes' if unit in plan.made_by['stay'] else ''}")
    ip.prune_(model, X, plan)
    shortcuts = sum(isinstance(m, Shortcut) for m in model.modules())
    print(f"accuracy {before:.4f}, after removal without retraining {accuracy(model, *pictures):.4f}")
    print(f"{len(plan.edits)} units removed, {shortcuts} of them down to their projection")
    for unit, price in plan.prices.items():
        print(f"{unit}: {price.before:,} -> {price.after:,} ({price.keep:.1%})")


def handwritten() -> tuple[torch.Tensor, torch.Tensor]:
    """The 1,797 real digits that scikit-learn carries, 8 x 8 and doubled, in random order."""
    from sklearn.datasets import load_digits

    found = load_digits()
    order = torch.randperm(len(found.images), generator=torch.Generator().manual_seed(0))
    images = torch.from_numpy(found.images).float()[order, None] / 8 - 1
    return F.interpolate(images, scale_factor=2).expand(-1, 3, -1, -1).contiguous(), torch.from_numpy(found.target)[
        order
    ]


class Batches:
    """Random batches of a data set in memory."""

    def __init__(self, images: torch.Tensor, labels: torch.Tensor):
        self.images, self.labels = images, labels

    def sample(self, n: int) -> tuple[torch.Tensor, torch.Tensor]:
        chosen = torch.randint(len(self.images), (n,))
        return self.images[chosen], self.labels[chosen]


def draw(seen: ip.depth.UnitEnergies, plan: ip.Plan, clusters: int, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    values, errors = (np.array([pair[i] for pair in seen.values()]) for i in (0, 1))
    labels = kmeans_1d(torch.from_numpy(values), clusters)[0].numpy()
    stays = np.array([unit in plan.made_by["stay"] for unit in seen])
    colours = plt.get_cmap("tab10")(labels % 10)
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(11, 4.2), layout="constrained", sharey=True, width_ratios=[3, 1]
    )
    place = np.arange(len(values))
    left.errorbar(place, values, 1.96 * errors, fmt="none", ecolor="0.6", capsize=2, zorder=1)
    left.scatter(place[~stays], values[~stays], s=40, facecolors="white", edgecolors=colours[~stays], zorder=2)
    left.scatter(place[stays], values[stays], s=60, c=colours[stays], zorder=2)
    left.set_xlabel("skip unit, in the order in which they run (filled: stays; bars: 95 %)")
    left.set_ylabel("energy dependence on the label")
    for k in range(clusters):
        own = values[labels == k]
        right.axhspan(
            own.min() - 0.005 * np.ptp(values),
            own.max() + 0.005 * np.ptp(values),
            color=f"C{k % 10}",
            alpha=0.2,
        )
    right.scatter(np.zeros(int((~stays).sum())), values[~stays], s=40, facecolors="white", edgecolors=colours[~stays])
    right.scatter(np.zeros(int(stays.sum())), values[stays], s=60, c=colours[stays])
    right.set_xticks([])
    right.set_xlabel(f"{clusters} clusters on the line")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
