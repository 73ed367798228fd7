"""What scoring tokens costs beside the block it precedes, and how much faster DeiT-S is with fewer of them.

    python benchmarks/token_latency.py scores            # CPU time of each score over that of the block, interleaved
    python benchmarks/token_latency.py models            # dense against sparsified DeiT-S, interleaved, with intervals

One thread. CPU time, so that other programs on the machine count little; the models are timed by the wall, in turn.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import timm
import torch
from torch import nn

import infoprune as ip
import infoprune.tokens
from infoprune.surgery.tokens import TokenSelection
from infoprune.timing import compare_latency, median_interval

SCHEDULES = {"-37 % MACs": {3: 0.7, 6: 0.7, 9: 0.7}}


def scores(batch: int, rounds: int) -> None:
    """Score alone, and with choosing and gathering; shares of the block's time, medians and 99.5 % intervals."""
    block = timm.create_model("deit_small_patch16_224").eval().blocks[3]
    x = torch.randn(batch, 197, 384)
    runs: dict[str, Callable[[], object]] = {"block": lambda: block(x)}
    for name in infoprune.tokens.scores:
        arriving = infoprune.tokens.Arriving(x, 1, block, 6)
        runs[name] = lambda name=name, arriving=arriving: infoprune.tokens.scores[name](arriving)
    selection = TokenSelection(196, 138, prefix=1, score="capacity+independence", kernels=6, fuse=False)
    runs["capacity+independence, choose and gather"] = lambda: selection(x, block)
    times = {name: np.array(seconds) for name, seconds in interleaved(runs, rounds).items()}
    print(f"batch {batch}: block {1e3 * np.median(times['block']):.1f} ms of CPU")
    for name in (n for n in runs if n != "block"):
        shares = times[name] / times["block"]
        low, high = median_interval(shares)
        print(f"  {name:42} {np.median(shares):6.2%}  ({low:.2%} to {high:.2%})")


def interleaved(runs: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in runs}
    with torch.inference_mode():
        for _ in range(2 + rounds):
            for name, run in runs.items():
                before = time.process_time()
                run()
                found[name].append(time.process_time() - before)
    return {name: seconds[2:] for name, seconds in found.items()}


def models(batch: int, rounds: int) -> None:
    dense = timm.create_model("deit_small_patch16_224").eval()
    images = torch.randn(batch, 3, 224, 224)
    for name, schedule in SCHEDULES.items():
        thinned = ip.tokens.sparsify_(timm.create_model("deit_small_patch16_224").eval(), schedule=schedule)
        print(f"batch {batch}, {name}: {told(dense, thinned, images, rounds)}", flush=True)


def told(dense: nn.Module, thinned: nn.Module, images: torch.Tensor, rounds: int) -> str:
    found = compare_latency(dense, thinned, images, rounds=rounds, seconds=1.0)
    return f"{1 / found.ratio:.2f} times as fast; {found}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("scores", "models"))
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--rounds", type=int, help="by default 31 for one image and 11 for more")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for batch in options.batches:
        {"scores": scores, "models": models}[options.what](batch, options.rounds or (31 if batch == 1 else 11))


if __name__ == "__main__":
    main()
