"""torchvision's Mask R-CNN ResNet-50-FPN at 800 pixels: pruned, saved, found again by its name, run in both modes.

    python benchmarks/mask_rcnn.py            # some minutes, 6 GiB

Random weights: this is about sizes and types, not about precision.
"""

from __future__ import annotations

import tempfile

import torch
import torch_pruning as tp
from results_file import ResultsFile, arguments
from torchvision.models.detection import maskrcnn_resnet50_fpn

import infoprune as ip

SIDE, KEEP = 800, 0.66


def network(side: int) -> torch.nn.Module:
    """As torchvision names it, or for smaller pictures."""
    sizes = {} if side == SIDE else {"min_size": side, "max_size": side}
    return maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, **sizes)


def measured(side: int) -> dict:
    torch.manual_seed(0)
    model = network(side).eval()
    picture = torch.rand(3, side, side)
    x = ([picture],)
    plan = ip.plan(model, x, tp.importance.MagnitudeImportance(p=2), budgets=[ip.budgets.macs(keep=KEEP)])
    certificate = ip.certificate_of(model, x, plan)
    ip.prune_(model, x, plan, certify=False)
    built = ip.measure(model, x)
    with tempfile.TemporaryDirectory() as folder:
        ip.save(folder, model, plan)
        again = ip.load(folder, factory=None if side == SIDE else lambda: network(side)).eval()
    with torch.no_grad():
        mine, found = model([picture])[0], again([picture])[0]
    losses = again.train()([picture], [target(side)])
    sum(losses.values()).backward()
    price = plan.prices["macs"]
    return {
        "macs": [price.before, price.after], "macs_counted": built.macs, "params": built.params,
        "sites": len(plan.edits), "quarantined": len(plan.made_by.get("quarantined", [])),
        "certificate": certificate.verdict, "difference": certificate.difference / certificate.scale,
        "loaded_equal": all(torch.equal(mine[k], found[k]) for k in mine),
        "found": {k: [str(v.dtype).removeprefix("torch."), list(v.shape)] for k, v in found.items()},
        "losses": {k: round(float(v.detach()), 3) for k, v in losses.items()},
        "gradients_finite": all(bool(p.grad.isfinite().all()) for p in again.parameters() if p.grad is not None),
    }  # fmt: skip


def target(side: int) -> dict[str, torch.Tensor]:
    masks = torch.zeros(1, side, side, dtype=torch.uint8)
    masks[:, side // 8 : side // 2, side // 4 : side // 2] = 1
    return {
        "boxes": torch.tensor([[side / 4, side / 8, side / 2, side / 2]]),
        "labels": torch.tensor([3]),
        "masks": masks,
    }


def main() -> None:
    options = arguments(__doc__).parse_args()
    torch.set_num_threads(1)
    side = 128 if options.smoke else SIDE
    results = ResultsFile.of(options, "mask_rcnn", ("side",))
    if not results.has(side=side):
        results.append({"side": side, **measured(side)})


if __name__ == "__main__":
    main()
