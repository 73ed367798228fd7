"""A Trainer script for BERT; heads, intermediate and hidden widths leave half-way through."""

import argparse

import torch
import torch_pruning as tp
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    Trainer,
    TrainingArguments,
)

import infoprune as ip
from infoprune.integrations import transformers as hf

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--model", help="a name on the hub or a folder; a small untrained BERT without it")
parser.add_argument("--length", type=int, default=64)
parser.add_argument("--steps", type=int, default=20)
parser.add_argument("--keep", type=float, default=0.5, help="share of the MACs that remains")
parser.add_argument("--output", default="runs/bert-pruned")
options = parser.parse_args()

small = {
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "vocab_size": 100,
}
torch.manual_seed(0)
if options.model:
    model = AutoModelForSequenceClassification.from_pretrained(options.model, num_labels=2)
else:
    model = BertForSequenceClassification(BertConfig(num_labels=2, **small))
words = torch.randint(1, 100, (16, options.length))
mask = torch.ones_like(words)
dataset = [
    {"input_ids": w, "attention_mask": m, "labels": n % 2} for n, (w, m) in enumerate(zip(words, mask, strict=True))
]
example_inputs = (words[:2], mask[:2])  # in the order of the model's forward


def half(model, example_inputs):
    importance = tp.importance.MagnitudeImportance(p=2)
    return ip.plan(model, example_inputs, importance, budgets=[ip.budgets.macs(keep=options.keep)])


trainer = Trainer(
    model,
    TrainingArguments(
        options.output, max_steps=options.steps, per_device_train_batch_size=8, report_to="none",
        save_strategy="no", logging_steps=1, disable_tqdm=True,
    ),
    train_dataset=dataset,
    callbacks=[hf.PruneCallback(example_inputs, {options.steps // 2: half})],
)  # fmt: skip
trainer.train()
trainer.save_model(options.output)

again = AutoModelForSequenceClassification.from_pretrained(options.output).to(model.device)
x = tuple(t.to(model.device) for t in example_inputs)
with torch.no_grad():
    assert torch.equal(again(*x).logits, model.eval()(*x).logits)
print(f"{ip.measure(again, x).macs:,} MACs")
