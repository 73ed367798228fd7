"""Iterative: the channels leave in several steps with training between."""

import argparse

import timm
import torch
import torch_pruning as tp

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--model", default="resnet18")
parser.add_argument("--size", type=int, default=224)
parser.add_argument("--steps", type=int, default=5)
parser.add_argument("--batches", type=int, default=100)
options = parser.parse_args()

model = timm.create_model(options.model, num_classes=10)
example_inputs = torch.randn(1, 3, options.size, options.size)
importance = tp.importance.MagnitudeImportance(p=2)

pruner = tp.pruner.BasePruner(
    model,
    (example_inputs,),
    importance,
    pruning_ratio=0.5,
    iterative_steps=options.steps,
    ignored_layers=[model.get_classifier()],
)

for step in range(options.steps):
    pruner.step()
    print(f"step {step + 1}: {tp.utils.count_ops_and_params(model, example_inputs)[0]:,.0f} MACs")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    for _ in range(options.batches):  # your data here
        images, labels = torch.randn(8, 3, options.size, options.size), torch.randint(10, (8,))
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
model.eval()

macs, parameters = tp.utils.count_ops_and_params(model, example_inputs)
print(f"{macs:,.0f} MACs and {parameters:,} parameters are left")
