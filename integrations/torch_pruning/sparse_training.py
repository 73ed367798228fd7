"""Sparsity-regularised training with a stock pruner, whose importance then ranks the units of a plan."""

import argparse

import timm
import torch
import torch.nn.functional as F
import torch_pruning as tp

import infoprune as ip

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--model", default="resnet18")
parser.add_argument("--size", type=int, default=224)
parser.add_argument("--pruner", choices=("bn_scale", "group_norm"), default="bn_scale")
parser.add_argument("--steps", type=int, default=10)
parser.add_argument("--reg", type=float, default=1e-4)
parser.add_argument("--macs", type=float, default=0.5, help="share of the MACs that remains")
options = parser.parse_args()

model = timm.create_model(options.model, num_classes=10)
example_inputs = torch.randn(1, 3, options.size, options.size)
kinds = {
    "bn_scale": (tp.pruner.BNScalePruner, tp.importance.BNScaleImportance()),
    "group_norm": (tp.pruner.GroupNormPruner, tp.importance.MagnitudeImportance(p=2)),
}
kind, importance = kinds[options.pruner]
pruner = kind(model, (example_inputs,), importance, reg=options.reg, ignored_layers=[model.get_classifier()])

optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
for _ in range(options.steps):
    images, labels = torch.randn(4, 3, options.size, options.size), torch.randint(10, (4,))  # your loader
    pruner.update_regularizer()  # before the gradients; it looks at the groups as they are now
    optimizer.zero_grad()
    F.cross_entropy(model(images), labels).backward()
    pruner.regularize(model)  # after the gradients, before the step
    optimizer.step()

model.eval()
plan = ip.plan(model, example_inputs, importance, budgets=[ip.budgets.macs(keep=options.macs)])
model = ip.prune_(model, example_inputs, plan)
optimizer = ip.rebuild_optimizer(optimizer, plan, model)  # goes on with its momentum; the stock pruner is done
print(plan)
