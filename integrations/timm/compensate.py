"""A network of timm's cut to a share of its MACs and made up for from a folder of pictures, without training."""

import argparse
import copy

import timm
import torch
from timm.data import create_dataset, create_loader, resolve_model_data_config

import infoprune as ip

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("pictures", help="a folder of pictures like those that the network will see; labels are not read")
parser.add_argument("--model", default="resnet18")
parser.add_argument("--checkpoint", default="", help="weights; without them timm's own are fetched")
parser.add_argument("--macs", type=float, default=0.7, help="share of the MACs that stays")
parser.add_argument("--samples", type=int, default=512)
parser.add_argument("--to", default="runs/compensated", help="where the network is saved")
options = parser.parse_args()

fetch = not options.checkpoint
dense = timm.create_model(options.model, pretrained=fetch, checkpoint_path=options.checkpoint).eval()
config = resolve_model_data_config(dense)
dataset = create_dataset("", options.pictures)
loader = create_loader(
    dataset, batch_size=32, input_size=config["input_size"], mean=config["mean"], std=config["std"],
    interpolation=config["interpolation"], crop_pct=config["crop_pct"], use_prefetcher=False, num_workers=0,
    persistent_workers=False,
)  # fmt: skip
example_inputs = torch.randn(1, *config["input_size"])

seen = ip.observe(dense, loader, samples=options.samples, moments=True, progress=False)
importance = ip.importance.ConditionalImportance(seen)
plan = ip.plan(dense, example_inputs, importance, budgets=[ip.budgets.macs(keep=options.macs)])
pruned = ip.prune_(copy.deepcopy(dense), example_inputs, plan)
done = ip.compensate_(pruned, dense, loader, samples=options.samples, progress=False)
print(plan)
print(done)
ip.save(options.to, pruned, plan)
