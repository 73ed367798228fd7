"""One shot: half of every layer's channels leave in one step."""

import argparse

import timm
import torch
import torch_pruning as tp

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--model", default="resnet18")
parser.add_argument("--size", type=int, default=224)
options = parser.parse_args()

model = timm.create_model(options.model, num_classes=10)
example_inputs = torch.randn(1, 3, options.size, options.size)
importance = tp.importance.MagnitudeImportance(p=2)

pruner = tp.pruner.BasePruner(
    model,
    (example_inputs,),
    importance,
    pruning_ratio=0.5,
    ignored_layers=[model.get_classifier()],
)
pruner.step()

macs, parameters = tp.utils.count_ops_and_params(model, example_inputs)
print(f"{macs:,.0f} MACs and {parameters:,} parameters are left")
