"""A Trainer script for ViT or DeiT; one callback prunes in two stages while it trains."""

import argparse

import torch
import torch_pruning as tp
from transformers import (
    AutoModelForImageClassification,
    Trainer,
    TrainingArguments,
    ViTConfig,
    ViTForImageClassification,
)

import infoprune as ip
from infoprune.integrations import transformers as hf

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--model", help="a name on the hub or a folder; a small untrained ViT without it")
parser.add_argument("--size", type=int, default=224)
parser.add_argument("--steps", type=int, default=30)
parser.add_argument("--keep", type=float, default=0.7, help="share of the MACs that each of two stages keeps")
parser.add_argument("--output", default="runs/vit-pruned")
options = parser.parse_args()

small = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96, "patch_size": 8}
torch.manual_seed(0)
if options.model:
    model = AutoModelForImageClassification.from_pretrained(options.model, num_labels=10, ignore_mismatched_sizes=True)
else:
    model = ViTForImageClassification(ViTConfig(image_size=options.size, num_labels=10, **small))
pictures = torch.randn(16, 3, options.size, options.size)
dataset = [{"pixel_values": picture, "labels": number % 10} for number, picture in enumerate(pictures)]
example_inputs = pictures[:2]


def smaller(model, example_inputs):
    importance = tp.importance.MagnitudeImportance(p=2)
    return ip.plan(model, example_inputs, importance, budgets=[ip.budgets.macs(keep=options.keep)])


trainer = Trainer(
    model,
    TrainingArguments(
        options.output, max_steps=options.steps, per_device_train_batch_size=8, report_to="none",
        save_strategy="no", logging_steps=1, disable_tqdm=True,
    ),
    train_dataset=dataset,
    callbacks=[hf.PruneCallback(example_inputs, {options.steps // 3: smaller, 2 * options.steps // 3: smaller})],
)  # fmt: skip
trainer.train()
trainer.save_model(options.output)

again = AutoModelForImageClassification.from_pretrained(options.output)
x = example_inputs.to(model.device)
with torch.no_grad():
    assert torch.equal(again.to(model.device)(x).logits, model.eval()(x).logits)
print(f"{ip.measure(again, x).macs:,} MACs after {len(hf.plans_of(again.config))} stages")
