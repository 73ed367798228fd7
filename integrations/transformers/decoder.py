"""Prune a decoder with one width in all layers, say what left by what stays, and write a plain network."""

import argparse
import copy
from pathlib import Path

import torch
import torch_pruning as tp
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

import infoprune as ip

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--model", help="a name on the hub or a folder; a small untrained Llama without it")
parser.add_argument("--text", type=Path, help="a file of text for calibration; noise without it")
parser.add_argument("--keep", type=float, default=0.75, help="share of the parameters that remains")
parser.add_argument("--cache", type=float, default=1.0, help="share of the bytes of keys and values that remains")
parser.add_argument("--passages", type=int, default=64)
parser.add_argument("--length", type=int, default=32)
parser.add_argument("--output", default="runs/llama-pruned")
options = parser.parse_args()

torch.manual_seed(0)
if options.model:
    model = AutoModelForCausalLM.from_pretrained(options.model).eval()
else:
    small = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "vocab_size": 100}
    heads = {"num_attention_heads": 8, "num_key_value_heads": 4}
    words = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    model = LlamaForCausalLM(LlamaConfig(**small, **heads, **words)).eval()
if options.text:
    ids = AutoTokenizer.from_pretrained(options.model)(options.text.read_text(), return_tensors="pt").input_ids[0]
    passages = ids[: options.passages * options.length].view(-1, options.length)
else:
    passages = torch.randint(3, 100, (options.passages, options.length))
loader, x = list(passages.split(8)), passages[:1]

budgets = [ip.budgets.params(keep=options.keep), ip.budgets.kv_cache(keep=options.cache)]
importance = tp.importance.GroupMagnitudeImportance(p=2)
plan = ip.plan(model, x, importance, budgets=budgets, tied=True, round_to=8)
print(plan)

pruned = ip.prune_(copy.deepcopy(model), x, plan)
print(ip.compensate_(pruned, model, loader, samples=options.passages, progress=False))
ip.save_plain(options.output, pruned, plan, max_shard_size="2GB")

again = AutoModelForCausalLM.from_pretrained(options.output).eval()  # this line needs no infoprune
with torch.no_grad():
    torch.testing.assert_close(again(x).logits, pruned(x).logits)
settings = {"max_new_tokens": 8, "do_sample": False, "attention_mask": torch.ones_like(x)}
assert torch.equal(again.generate(x, **settings), pruned.generate(x, **settings))
for budget in budgets:
    print(budget.compare(model, again, x))
