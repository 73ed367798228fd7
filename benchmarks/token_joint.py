"""One budget over tokens, embedding, heads and MLPs of DeiT-S, against each of them alone, by what plans are worth.

    python benchmarks/token_joint.py

Tokens leave before blocks 3, 6 and 9. The problem is the one that `ip.plan(..., tokens=ip.TokenPath())` solves, with
all sites but those of an axis held whole: this compares what the axes can reach by the utility, not what a network
loses, which `vit_saliency.py` measures.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import timm
import torch
import torch_pruning as tp
from results_file import ResultsFile, arguments

import infoprune as ip
from infoprune.allocation import Allocation, Problem, allocate
from infoprune.errors import Infeasible
from infoprune.planning import Scored, Terms
from infoprune.tokens.joint import Stages

MODEL, BLOCKS = "deit_small_patch16_224", (3, 6, 9)
KEEPS = (0.8, 0.63, 0.5)
WORDS = {"tokens": "tokens before", "embedding": "patch_embed", "heads": ".qkv", "MLP widths": ".mlp"}


def problem(name: str, blocks: tuple[int, ...], keep: float) -> Problem:
    """All axes of a transformer under one budget of MACs."""
    model = timm.create_model(name).eval()
    budget = ip.budgets.macs(keep=keep)
    image, importance = torch.zeros(1, *model.pretrained_cfg["input_size"]), tp.importance.MagnitudeImportance(p=2)
    scored = Scored.of(model, image, importance, Terms(budgets=[budget]))
    return Stages.of(scored, ip.TokenPath(blocks=blocks)).problem(scored, [budget])


def held(whole: Problem, free: np.ndarray, keep: float) -> Problem:
    """The same problem at another budget; only the `free` sites may shrink."""
    limit = keep * whole.costs[0](whole.sizes)
    return replace(whole, floor=np.where(free, whole.floor, whole.sizes).astype(int), limits=[limit])


def axes(whole: Problem) -> dict[str, np.ndarray]:
    found = {axis: np.array([word in name for name in whole.names]) for axis, word in WORDS.items()}
    return {**found, "all widths": ~found["tokens"], "all": np.ones(len(whole.names), bool)}


def main() -> None:
    options = arguments(__doc__).parse_args()
    torch.set_num_threads(1)
    results = ResultsFile.of(options, "token_joint", ("keep",))
    keeps = [keep for keep in KEEPS[: 1 if options.smoke else None] if not results.has(keep=keep)]
    if not keeps:
        return
    whole = problem(*(("test_vit", (2, 4)) if options.smoke else (MODEL, BLOCKS)), KEEPS[0])
    print(f"dense {whole.costs[0](whole.sizes):,.0f} MACs; value of the best plan (0 is dense, higher is better)")
    for keep in keeps:
        made = {axis: best(held(whole, free, keep)) for axis, free in axes(whole).items()}
        kept = made["all"].counts / whole.sizes
        values = {axis: None if found is None else round(found.value, 3) for axis, found in made.items()}
        shares = {axis: round(float(kept[axes(whole)[axis]].mean()), 3) for axis in WORDS}
        results.append({"keep": keep, "values": values, "kept": shares})


def best(wanted: Problem) -> Allocation | None:
    try:
        return allocate(wanted)
    except Infeasible:
        return None


if __name__ == "__main__":
    main()
