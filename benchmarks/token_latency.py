"""What scoring tokens costs beside the block it precedes, and how much faster DeiT-S is with fewer of them.

    python benchmarks/token_latency.py scores            # CPU time of each score over that of the block, interleaved
    python benchmarks/token_latency.py models            # dense against sparsified DeiT-S, interleaved, with intervals

Without either word, both. One thread. Scores are compared by CPU time, so that other programs on the machine count
little, in two runs; the models are timed by the wall, in turn. What is on file is not measured again.
"""

from __future__ import annotations

import statistics

import timm
import torch
from interleave import interleaved
from results_file import ResultsFile, arguments

import infoprune as ip
import infoprune.tokens
from infoprune.graph.counting import count_macs
from infoprune.surgery.tokens import TokenSelection
from infoprune.timing import compare_latency

MODEL, SCHEDULE = "deit_small_patch16_224", {3: 0.7, 6: 0.7, 9: 0.7}
DEFAULT, GATHERED = "capacity_independence", "choose and gather"
RUNS = 2


def scores(model: str, batch: int, rounds: int, results: ResultsFile) -> None:
    """Each score alone, and the default with choosing and gathering: median shares of the block's time, by run."""
    names = [n for n in infoprune.tokens.scores if not results.has(what="scores", batch=batch, score=n)]
    vit = timm.create_model(model).eval()
    block, x = vit.blocks[3], torch.randn(batch, *vit.pos_embed.shape[1:])
    kernels = block.attn.num_heads
    jobs = {"block": lambda: block(x)}
    for name in names:
        arriving = infoprune.tokens.Arriving(x, 1, block, kernels)
        jobs[name] = lambda name=name, arriving=arriving: infoprune.tokens.scores[name](arriving)
    patches = x.shape[1] - 1
    selection = TokenSelection(patches, round(0.7 * patches) + 1, prefix=1, score=DEFAULT, kernels=kernels, fuse=False)
    jobs[GATHERED] = lambda: selection(x, block)
    with torch.inference_mode():
        runs = [interleaved(jobs, rounds, warm=2) for _ in range(RUNS if names else 0)]
    for name in names:
        more = {}
        if name == DEFAULT:
            macs_share = count_macs(selection, (x[:1], block)) / count_macs(block, (x[:1],))
            more = {"with_gathering": shares(runs, GATHERED), "macs_share": round(macs_share, 5)}
        results.append({"what": "scores", "batch": batch, "score": name, "shares": shares(runs, name), **more})


def shares(runs: list[dict[str, list[float]]], name: str) -> list[float]:
    """The least and the largest over runs."""
    found = [statistics.median(a / b for a, b in zip(run[name], run["block"], strict=True)) for run in runs]
    return [round(min(found), 4), round(max(found), 4)]


def models(model: str, batch: int, rounds: int, results: ResultsFile) -> None:
    if results.has(what="models", batch=batch, score=None):
        return
    dense = timm.create_model(model).eval()
    schedule = {at: keep for at, keep in SCHEDULE.items() if at < len(dense.blocks)}
    thinned = ip.tokens.sparsify_(timm.create_model(model).eval(), schedule=schedule)
    images = torch.randn(batch, *dense.pretrained_cfg["input_size"])
    macs = [ip.measure(each, images[:1]).macs for each in (thinned, dense)]
    found = compare_latency(dense, thinned, images, rounds=rounds, seconds=1.0)
    times = {"ratio": found.ratio, "interval": list(found.ratio_interval)}
    about = {"what": "models", "batch": batch, "score": None, "rounds": rounds}
    results.append({**about, "macs": macs[0], "dense_macs": macs[1], **times})


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("what", nargs="?", choices=("scores", "models"))
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--rounds", type=int, help="by default 31 for one image and 11 for more")
    options = parser.parse_args()
    if options.smoke:
        options.batches, options.rounds = [1], 3
    torch.set_num_threads(1)
    results = ResultsFile.of(options, "token_latency", ("what", "batch", "score"))
    jobs = [job for job in (scores, models) if options.what in (None, job.__name__)]
    for batch in options.batches:
        for job in jobs:
            name = "test_vit" if options.smoke else MODEL
            job(name, batch, options.rounds or (31 if batch == 1 else 11), results)


if __name__ == "__main__":
    main()
