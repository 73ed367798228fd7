"""A usual torch-pruning script: one importance, one ratio, one step. Only the importance is ours."""

import argparse

import timm
import torch
import torch_pruning as tp

import infoprune as ip

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--model", default="resnet18")
parser.add_argument("--size", type=int, default=224)
parser.add_argument("--ratio", type=float, default=0.5)
parser.add_argument("--sigma", type=float, default=0.8, help="weight of capacity against independence")
options = parser.parse_args()

model = timm.create_model(options.model, num_classes=10).eval()
example_inputs = torch.randn(1, 3, options.size, options.size)
before = ip.measure(model, example_inputs)

pruner = tp.pruner.BasePruner(
    model,
    (example_inputs,),
    importance=ip.importance.CapacityIndependenceImportance(
        sigma=options.sigma
    ),  # was: tp.importance.MagnitudeImportance()
    pruning_ratio=options.ratio,
    ignored_layers=[model.get_classifier()],
)
pruner.step()

after = ip.measure(model, example_inputs)
print(f"MACs {before.macs:,} -> {after.macs:,}, parameters {before.params:,} -> {after.params:,}")
