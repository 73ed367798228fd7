"""Interactive: the script looks at every group before it is pruned."""

import argparse

import timm
import torch
import torch_pruning as tp

import infoprune as ip

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--model", default="resnet18")
parser.add_argument("--size", type=int, default=224)
options = parser.parse_args()

model = timm.create_model(options.model, num_classes=10)
example_inputs = torch.randn(1, 3, options.size, options.size)
importance = ip.importance.CapacityIndependenceImportance(sigma=0.8)

pruner = tp.pruner.BasePruner(
    model,
    (example_inputs,),
    importance,
    pruning_ratio=0.5,
    ignored_layers=[model.get_classifier()],
)
for group in pruner.step(interactive=True):
    dependency, indices = group[0]
    print(f"{dependency.target.name}: {len(indices)} channels")
    group.prune()

macs, parameters = tp.utils.count_ops_and_params(model, example_inputs)
print(f"{macs:,.0f} MACs and {parameters:,} parameters are left")
