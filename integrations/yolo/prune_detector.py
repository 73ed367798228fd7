"""Prune a YOLOv3 while it trains, save it without pickle, load it by name and detect."""

import argparse

import torch
import torch_pruning as tp

import infoprune as ip
from infoprune.models import models

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--model", default="yolov3_tiny", choices=["yolov3", "yolov3_tiny"])
parser.add_argument("--size", type=int, default=416)
parser.add_argument("--steps", type=int, default=10, help="before and after pruning")
parser.add_argument("--macs", type=float, default=0.5, help="share of the MACs that remains")
parser.add_argument("--output", default="runs/yolo-pruned")
options = parser.parse_args()

torch.manual_seed(0)
model = models[options.model](num_classes=3)
pictures = torch.rand(4, 3, options.size, options.size)
side = options.size / 2
targets = [{"boxes": torch.tensor([[4.0, 4.0, side, side]]), "labels": torch.tensor([n % 3])} for n in range(4)]
optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)


def train():
    model.train()
    for _ in range(options.steps):
        loss = sum(model.losses(pictures, targets).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


before = train()
importance = tp.importance.BNScaleImportance()
plan = ip.plan(model, pictures[:1], importance, budgets=[ip.budgets.macs(keep=options.macs)])
print(ip.certificate_of(model, pictures[:1], plan))
ip.prune_(model, pictures[:1], plan)
ip.rebuild_optimizer(optimizer, plan, model)
print(
    f"loss {before:.2f} before pruning, {train():.2f} after and trained on; {plan.prices['macs'].keep:.1%} of the MACs"
)

ip.save(options.output, model.eval(), plan)
again = ip.load(options.output)
found, expected = again.detect(pictures, score=0.05), model.detect(pictures, score=0.05)
assert all(torch.equal(a.boxes, b.boxes) for a, b in zip(found, expected, strict=True))
print(f"{sum(len(f.boxes) for f in found)} boxes in {len(found)} pictures, from {options.output}")
