"""What docs/depth.md shows: the units of each family, and the energies of a trained network on the line.

python benchmarks/depth_pictures.py families
python benchmarks/depth_pictures.py energies [--depth 32] [--images 12800] [--clusters 7]
python benchmarks/depth_pictures.py trade-off --depth 20 --images 6400
"""

from __future__ import annotations

import argparse
from pathlib import Path

import timm
import torch
import torch.nn.functional as F
from depth_task import ResNet, accuracy, train

import infoprune as ip
from infoprune.finetune import reestimate_
from infoprune.report import depth as report
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
    parser.add_argument("what", choices=["families", "energies", "trade-off"])
    parser.add_argument("--depth", type=int, default=32)
    parser.add_argument("--images", type=int, default=12_800)
    parser.add_argument("--clusters", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    {"families": lambda _: families(), "energies": energies, "trade-off": trade_off}[options.what](options)


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
    report.energies(seen, plan, options.clusters).savefig(IMAGES / "depth_energies.png", dpi=120)
    print("unit        energy   s.e.   stays")
    for unit, (value, error) in seen.items():
        print(f"{unit:<10} {value:>7.3f}  {error:>5.3f}   {'yes' if unit in plan.made_by['stay'] else ''}")
    ip.prune_(model, X, plan)
    shortcuts = sum(isinstance(m, Shortcut) for m in model.modules())
    print(f"accuracy {before:.4f}, after removal without retraining {accuracy(model, *pictures):.4f}")
    print(f"{len(plan.edits)} units removed, {shortcuts} of them down to their projection")
    for unit, price in plan.prices.items():
        print(f"{unit}: {price.before:,} -> {price.after:,} ({price.keep:.1%})")


def trade_off(options: argparse.Namespace) -> None:
    """Blocks and channels at half the MACs, judged by accuracy once batch norms are estimated again."""
    torch.manual_seed(0)
    model = ResNet(options.depth, 16)
    images, labels = handwritten()
    learn, judge = slice(0, 1400), slice(1400, None)
    train(model, Batches(images[learn], labels[learn]), options.images, rate=0.1)
    seen = ip.unit_energies(model, zip(images[learn].split(128), labels[learn].split(128), strict=True), X)
    units = len(ip.skip_units(model, X))
    found = ip.plan_depth_and_width(
        model, X, ip.importance.CapacityIndependenceImportance(), seen,
        budgets=ip.budgets.macs(keep=0.5), depths=range(units, units // 3, -1),
        probe=lambda pruned: accuracy(reestimate_(pruned, images[learn].split(200)), images[judge], labels[judge]),
    )  # fmt: skip
    print(f"dense: accuracy {accuracy(model, images[judge], labels[judge]):.4f}")
    print(found)
    report.trade_off(found).savefig(IMAGES / "depth_trade_off.png", dpi=120)


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


if __name__ == "__main__":
    main()
