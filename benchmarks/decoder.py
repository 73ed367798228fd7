"""What a small decoder says before and after surgery, compensation and a little distillation.

    python benchmarks/decoder.py [--ways conditional l2] [--draws 0 1 2] [--compensations ...] [--work FOLDER]
    python benchmarks/decoder.py --smoke

A Llama of four layers over bytes is trained here in minutes of one core, on the reference text that comes with Python
(`pydoc_data.topics`, PSF licence); every tenth topic is held out. It then loses a quarter of its parameters: units are
ranked by what the others can't say of them on calibration text (`conditional`) or by torch-pruning's L2, at widths from
the same allocation. A draw is one of calibration text, and the unpruned network must come out of the same steps bit for
bit as it was. Perplexity is of bytes of the topics held out. Rows go on where the program was stopped.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import math
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch_pruning as tp
from results_file import ResultsFile, arguments
from torch import Tensor, nn
from torch.nn import functional as F

import infoprune as ip
from compensation import mean_shifted
from infoprune.surgery import Plan

TOKENS, BATCH = 96, 16
STEPS, RATE = 1_000, 2e-3
DISTILLED, DISTILLING_RATE = 60, 3e-4
JUDGED = 320  # passages of held-out text
SIZES = {"hidden_size": 128, "intermediate_size": 352, "num_hidden_layers": 4, "num_attention_heads": 4}
WAYS = ("conditional", "l2")
HOW = ("none", "mean shift", "ours", "ours, distilled")


def passages(held_out: bool) -> Tensor:
    """All bytes of the topics that are held out, or of the others, in passages of one length."""
    from pydoc_data.topics import topics

    chosen = [topics[name] for place, name in enumerate(sorted(topics)) if (place % 10 == 0) == held_out]
    text = torch.tensor(list("\n".join(chosen).encode("ascii", "replace")))
    return text[: len(text) // TOKENS * TOKENS].view(-1, TOKENS)


def drawn(count: int, seed: int) -> Tensor:
    """Passages of the text that may be read in training, as many and others for each seed."""
    text = passages(held_out=False)
    return text[torch.randperm(len(text), generator=torch.Generator().manual_seed(seed))[:count]]


def untrained() -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    words = {"vocab_size": 128, "max_position_embeddings": 2 * TOKENS, "bos_token_id": None, "eos_token_id": None}
    return LlamaForCausalLM(LlamaConfig(**SIZES, **words, num_key_value_heads=2, tie_word_embeddings=False))


def said(model: nn.Module, ids: Tensor) -> Tensor:
    """Logits for every byte but the first."""
    return model(ids, use_cache=False).logits[:, :-1]


def trained(folder: Path, steps: int) -> nn.Module:
    """The dense network, from a file where there is one."""
    model, file = untrained(), folder / f"decoder-{steps}.pt"
    if file.exists():
        model.load_state_dict(torch.load(file, weights_only=True))
        return model.eval()
    text, chosen = passages(held_out=False), torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    for _ in range(steps):
        ids = text[torch.randint(len(text), (BATCH,), generator=chosen)]
        loss = F.cross_entropy(said(model, ids).flatten(0, 1), ids[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    torch.save(model.state_dict(), file)
    return model.eval()


def distil_(model: nn.Module, dense: nn.Module, draw: int) -> None:
    """A few steps towards what the dense network says of text without labels."""
    optimizer = torch.optim.AdamW(model.parameters(), DISTILLING_RATE, weight_decay=0.0)
    for ids in drawn(DISTILLED * BATCH, 1000 + draw).split(BATCH):
        with torch.no_grad():
            told = said(dense, ids).log_softmax(-1)
        own = said(model, ids).log_softmax(-1)
        optimizer.zero_grad()
        (told.exp() * (told - own)).sum(-1).mean().backward()
        optimizer.step()


@torch.no_grad()
def perplexity(model: nn.Module, text: Tensor) -> float:
    losses = [
        F.cross_entropy(said(model.eval(), ids).flatten(0, 1), ids[:, 1:].flatten(), reduction="sum")
        for ids in text.split(64)
    ]
    return round(math.exp(float(sum(losses)) / text[:, 1:].numel()), 4)


def planned(dense: nn.Module, way: str, keep: float, loader: list[Tensor]) -> Plan:
    if keep == 1:
        return Plan()
    importance: Any = tp.importance.GroupMagnitudeImportance(p=2)
    if way == "conditional":
        seen = ip.observe(dense, loader, samples=sum(map(len, loader)), moments=True, progress=False)
        importance = ip.importance.ConditionalImportance(seen)
    return ip.plan(dense, loader[0][:1], importance, budgets=[ip.budgets.params(keep=keep)])


def make_up_(how: str, pruned: nn.Module, dense: nn.Module, loader: list[Tensor], draw: int, plan: Plan) -> None:
    """Change the pruned network in place."""
    if how == "mean shift":
        mean_shifted(pruned, dense, loader, plan)
    if how.startswith("ours"):
        samples = sum(map(len, loader))
        done = ip.compensate_(pruned, dense, loader, samples=samples, progress=sys.stderr.isatty(), plan=plan)
        print(done, file=sys.stderr)
    if how.endswith("distilled"):
        distil_(pruned, dense, draw)


def measured(dense: nn.Module, task: dict[str, Any], text: Tensor) -> dict[str, Any]:
    """What is left of the network and what it says, after one way of pruning and of making up for it."""
    loader = list(drawn(task["samples"], task["draw"]).split(BATCH))
    begun = time.process_time()
    plan = planned(dense, task["way"], task["keep"], loader)
    pruned = ip.prune_(copy.deepcopy(dense), loader[0][:1], plan) if plan.edits else copy.deepcopy(dense)
    make_up_(task["compensation"], pruned, dense, loader, task["draw"], plan)
    spent = time.process_time() - begun
    counts = [sum(p.numel() for p in model.parameters()) for model in (pruned, dense)]
    told = {"params": round(counts[0] / counts[1], 4), "after": perplexity(pruned, text), "made_cpu_s": round(spent, 1)}
    if not plan.edits:
        both = zip(pruned.state_dict().values(), dense.state_dict().values(), strict=True)
        told["unharmed"] = all(torch.equal(a, b) for a, b in both)
    return told


def tasks(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The unpruned network goes through the steps that need no training, once."""
    asked = {"samples": options.samples}
    yield {**asked, "keep": 1.0, "way": "conditional", "draw": options.draws[0], "compensation": "ours"}
    for draw in options.draws:
        for way in options.ways:
            for how in options.compensations:
                yield {**asked, "keep": options.keep, "way": way, "draw": draw, "compensation": how}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--keep", type=float, default=0.75, help="the share of the parameters that stays")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--compensations", nargs="+", choices=HOW, default=list(HOW))
    parser.add_argument("--draws", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--samples", type=int, default=256, help=f"calibration passages of {TOKENS} bytes")
    parser.add_argument("--steps", type=int, default=STEPS, help="of training the dense network")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()), help="where that is kept")
    options = parser.parse_args()
    torch.set_num_threads(1)
    text = passages(held_out=True)[:JUDGED]
    if options.smoke:
        options.steps, options.samples, options.draws, text = 5, 32, [0], text[:8]
        options.work = Path(tempfile.mkdtemp(prefix="smoke-"))
    results = ResultsFile.of(options, "decoder", ("steps", "keep", "way", "draw", "samples", "compensation"))
    dense = trained(options.work, options.steps)
    about = {"steps": options.steps, "dense": perplexity(dense, text)}
    about |= {"test": f"{len(text)} passages, {hashlib.sha256(text.numpy().tobytes()).hexdigest()[:12]}"}
    for task in tasks(options):
        if not results.has(**task, steps=options.steps):
            results.append({**task, **about, **measured(dense, task, text)})


if __name__ == "__main__":
    main()
