"""What docs/depth.md shows: the units of each family, and the energies of a trained network on the line.

    python benchmarks/depth_pictures.py families
    python benchmarks/depth_pictures.py energies [--depth 32] [--images 12800] [--clusters 7]
    python benchmarks/depth_pictures.py trade-off --depth 20 --images 6400

Without any of the words, all three. Pictures go to docs/images, those of a small run beside its rows.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import timm
import torch
import torch.nn.functional as F
from depth_task import ResNet, accuracy, train
from results_file import ResultsFile, arguments

import infoprune as ip
from infoprune.depth import removals
from infoprune.finetune import reestimate_
from infoprune.report import depth as report
from infoprune.surgery.stand_ins import Shortcut

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
    jobs = {"families": families, "energies": energies, "trade-off": trade_off}
    parser = arguments(__doc__)
    parser.add_argument("what", nargs="?", choices=list(jobs))
    parser.add_argument("--depth", type=int, default=32)
    parser.add_argument("--images", type=int, default=12_800)
    parser.add_argument("--clusters", type=int, default=7)
    options = parser.parse_args()
    if options.smoke:
        options.depth, options.images, options.clusters = 14, 256, 3
    torch.set_num_threads(1)
    results = ResultsFile.of(options, "depth_pictures", ("what", "model", "images", "clusters"))
    pictures = results.path.parent if options.smoke else IMAGES
    for job in [jobs[options.what]] if options.what else jobs.values():
        job(options, results, pictures)


def families(options: argparse.Namespace, results: ResultsFile, _: Path) -> None:
    for name, size in FAMILIES[: 1 if options.smoke else None]:
        key = {"what": "families", "model": name, "images": None, "clusters": None}
        if results.has(**key):
            continue
        model = timm.create_model(name)
        edits = removals(model, torch.randn(1, 3, size, size))
        total = sum(p.numel() for p in model.parameters())
        names = {n for e in edits for n in e.lost}
        share = sum(p.numel() for n, p in model.named_parameters() if n in names) / total
        kept = sum(e.unit.stand_ins[0].kind == "shortcut" for e in edits)
        halves = sum(len(e.unit.stand_ins) > 1 or e.unit.stand_ins[0].kind == "zero" for e in edits)
        results.append({**key, "units": len(edits), "shortcuts": kept, "halves": halves, "params_share": share})


def energies(options: argparse.Namespace, results: ResultsFile, pictures: Path) -> None:
    key = {"what": "energies", "model": f"resnet{options.depth}", "images": options.images}
    key["clusters"] = options.clusters
    if results.has(**key):
        return
    model, learn, judge = trained(options)
    seen = ip.unit_energies(model, zip(*(part.split(128) for part in learn), strict=True), X)
    plan = ip.plan_depth(model, X, seen, clusters=options.clusters)
    before = accuracy(model, *judge)
    report.energies(seen, plan, options.clusters).savefig(pictures / "depth_energies.png", dpi=120)
    print("unit        energy   s.e.   stays")
    for unit, (value, error) in seen.items():
        print(f"{unit:<10} {value:>7.3f}  {error:>5.3f}   {'yes' if unit in plan.made_by['stay'] else ''}")
    ip.prune_(model, X, plan)
    shortcuts, after = sum(isinstance(m, Shortcut) for m in model.modules()), accuracy(model, *judge)
    print(f"accuracy {before:.4f}, after removal without retraining {after:.4f}")
    print(f"{len(plan.edits)} units removed, {shortcuts} of them down to their projection")
    for unit, price in plan.prices.items():
        print(f"{unit}: {price.before:,} -> {price.after:,} ({price.keep:.1%})")
    told = {"energies": dict(seen), "stay": plan.made_by["stay"], "removed": len(plan.edits), "shortcuts": shortcuts}
    results.append({**key, "accuracy": [before, after], **told})


def trade_off(options: argparse.Namespace, results: ResultsFile, pictures: Path) -> None:
    """Blocks and channels at half the MACs, judged by accuracy once batch norms are estimated again."""
    key = {"what": "trade-off", "model": f"resnet{options.depth}", "images": options.images, "clusters": None}
    if results.has(**key):
        return
    model, learn, judge = trained(options)
    seen = ip.unit_energies(model, zip(*(part.split(128) for part in learn), strict=True), X)
    units = len(ip.skip_units(model, X))
    found = ip.plan_depth_and_width(
        model, X, ip.importance.CapacityIndependenceImportance(), seen,
        budgets=ip.budgets.macs(keep=0.5), depths=range(units, units // 3, -1),
        probe=lambda pruned: accuracy(reestimate_(pruned, learn[0].split(200)), *judge),
    )  # fmt: skip
    dense = accuracy(model, *judge)
    print(f"dense: accuracy {dense:.4f}\n{found}")
    report.trade_off(found).savefig(pictures / "depth_trade_off.png", dpi=120)
    depths = [{"units": each.units, "worth": each.worth, "width": each.width} for each in found.depths]
    results.append({**key, "accuracy": dense, "depths": depths})


def trained(options: argparse.Namespace) -> tuple[ResNet, tuple, tuple]:
    """A network that learned digits, with what it learned from and what judges it."""
    torch.manual_seed(0)
    model = ResNet(options.depth, 16)
    images, labels = handwritten()
    learn = images[:1400], labels[:1400]
    train(model, Batches(*learn), options.images, rate=0.1)
    return model, learn, (images[1400:], labels[1400:])


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
