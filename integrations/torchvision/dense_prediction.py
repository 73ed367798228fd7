"""Prune a torchvision network for segmentation or detection between two training steps."""

import argparse

import torch
import torchvision
from torch.nn import functional as F

import infoprune as ip

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--model", default="fcn_resnet50", help="or deeplabv3_resnet50, maskrcnn_resnet50_fpn ...")
parser.add_argument("--size", type=int, default=256)
parser.add_argument("--macs", type=float, default=0.6, help="share of the multiply-adds that remains")
parser.add_argument("--to", default="runs/dense")
options = parser.parse_args()

detects = options.model in torchvision.models.list_models(torchvision.models.detection)
model = torchvision.models.get_model(options.model, weights=None, weights_backbone=None, num_classes=5)
optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
images = torch.rand(2, 3, options.size, options.size)  # your data here
labels = torch.randint(5, (2, options.size, options.size))
masks = torch.zeros(1, options.size, options.size, dtype=torch.uint8)
masks[:, 8:40, 8:48] = 1
objects = [{"boxes": torch.tensor([[8.0, 8.0, 48.0, 40.0]]), "labels": torch.tensor([1]), "masks": masks}] * 2
example_inputs = ([images[0]],) if detects else images[:1]


def step():
    model.train()
    if detects:
        loss = sum(model(list(images), objects).values())
    else:
        loss = sum(F.cross_entropy(out, labels) for out in model(images).values())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


step()
plan = ip.plan(
    model, example_inputs, ip.importance.IndependenceImportance(), budgets=[ip.budgets.macs(keep=options.macs)]
)
ip.prune_(model, example_inputs, plan)
ip.rebuild_optimizer(optimizer, plan, model)
print(f"loss {step():.3f} with {plan.prices['macs'].keep:.0%} of the multiply-adds")
ip.save(options.to, model.eval(), plan)
