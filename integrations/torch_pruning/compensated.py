"""A stock pruner's cut made up for: what left is said by what stays, from unlabelled pictures."""

import argparse
import copy

import timm
import torch
import torch_pruning as tp

import infoprune as ip

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--model", default="resnet18")
parser.add_argument("--pretrained", action="store_true", help="fetch timm's weights")
parser.add_argument("--size", type=int, default=224)
parser.add_argument("--to", default="runs/compensated", help="where the network is saved")
options = parser.parse_args()

model = timm.create_model(options.model, pretrained=options.pretrained).eval()
if not options.pretrained:  # statistics of its own, as training leaves them
    model.train()(torch.randn(64, 3, options.size, options.size))
    model.eval()
example_inputs = torch.randn(1, 3, options.size, options.size)
pictures = [torch.randn(32, 3, options.size, options.size) for _ in range(4)]  # yours: those that it will see

dense = copy.deepcopy(model)
pruner = tp.pruner.BasePruner(
    model,
    (example_inputs,),
    tp.importance.MagnitudeImportance(p=2),
    pruning_ratio=0.5,
    ignored_layers=[model.get_classifier()],
)
pruner.step()

plan = ip.plan_between(dense, model, example_inputs)  # which channels stayed, found in the weights
done = ip.compensate_(model, dense, pictures, plan=plan, progress=False)
print(done)
ip.save(options.to, model, plan)  # compensation is told of this very object
