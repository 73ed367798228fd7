"""A stock pruner that ends at exactly the widths that a budget asks for, in as many steps as you like."""

import argparse

import timm
import torch
import torch_pruning as tp

import infoprune as ip

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--model", default="resnet18")
parser.add_argument("--size", type=int, default=224)
parser.add_argument("--macs", type=float, default=0.5, help="share of the MACs that remains")
parser.add_argument("--steps", type=int, default=3)
options = parser.parse_args()

model = timm.create_model(options.model, num_classes=10).eval()
example_inputs = torch.randn(1, 3, options.size, options.size)
importance = tp.importance.MagnitudeImportance(p=2)

plan = ip.plan(model, example_inputs, importance, budgets=[ip.budgets.macs(keep=options.macs)])
pruner = tp.pruner.BasePruner(
    model,
    (example_inputs,),
    importance,
    pruning_ratio=0.0,
    pruning_ratio_dict=plan.pruning_ratios(model),
    iterative_steps=options.steps,
    ignored_layers=[model.get_classifier()],
)
for step in range(options.steps):
    pruner.step()
    # fine-tune here
    print(f"step {step + 1}: {ip.measure(model, example_inputs).macs:,} MACs")

assert ip.measure(model, example_inputs).macs == plan.prices["macs"].after
print(plan)
