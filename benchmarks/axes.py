"""Fewer blocks, fewer tokens or narrower layers: which keeps most of what the dense network said, at equal latency?

    python benchmarks/axes.py --data DATA [--nets vit mobilenetv2 resnet56_grown] [--axes ...] [--draws 0 1 2]
        [--speed 0.75]
    python benchmarks/axes.py --smoke

Untrained, before and after `compensate_` with pictures without labels; networks, DATA and what they are judged by are
those of compensation.py. Every axis gets the share of the multiply-adds at which the network takes `--speed` of the
dense one's CPU time, one thread, both timed in turn: the share is found with the first draw's pictures and kept for the
others, and how equal the times came out is in each row, with an interval over rounds. Units by what the others cannot
make up for, default widths; blocks by how far the answers move when one alone is gone, the least first; tokens at
random places before a quarter, a half and three quarters of the blocks, which is the best score there is for masks.
"Blocks and widths" saves half of the multiply-adds by each. With `--speed 1` nothing is cut. Rows go on where the
program was stopped.
"""

from __future__ import annotations

import argparse
import copy
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property, partial
from itertools import product
from pathlib import Path
from typing import Any

import ladder
import torch
from equal_latency import timed
from interleave import Ratio, ratio
from results_file import ResultsFile, arguments
from torch import Tensor, nn
from tqdm import tqdm

import infoprune as ip
from compensation import Subject, subject
from infoprune.surgery import Plan

KEY = ("net", "axis", "draw", "speed", "samples")
TRIES, NEAR = 5, 0.015  # of finding the share, and how near the times shall come
BATCH = {"vit": 2, "mobilenetv2": 4, "resnet56_grown": 16, "resnet20": 16}
TRIAL = 64  # pictures by which blocks are ranked
PLACES = ip.TokenPath(score="random")


@dataclass
class Draw:
    """A network, one draw of pictures, and what every axis needs to know of them."""

    us: Subject
    number: int
    moved: Callable[[], dict[str, float]]  # how far the answers move when a block is gone

    @cached_property
    def importance(self) -> Callable[[Any], Any]:
        loader = self.us.loader(self.number)
        seen = ip.observe(self.us.model, loader, samples=self.us.samples, moments=True, progress=False)
        return ip.importance.ConditionalImportance(seen)


def moved(us: Subject) -> dict[str, float]:
    """How far the answers to the first draw's pictures move, relative to their size, when this block alone is gone."""
    x, names = torch.cat(us.loader(0))[:TRIAL], [unit.name for unit in ip.skip_units(us.model, us.example)]
    told = {}
    with torch.no_grad():
        whole = us.model(x)
        for name in tqdm(names, disable=not sys.stderr.isatty()):
            without = {other: float(other != name) for other in names}
            plan = ip.plan_depth(us.model, us.example, without, keep_units=len(names) - 1, strategy="largest")
            gone = ip.prune_(copy.deepcopy(us.model), us.example, plan, certify=False).eval()
            told[name] = float((gone(x) - whole).pow(2).sum() / whole.pow(2).sum())
    return told


# ------------------------------------------------------------------------------------------------------- the axes


def widths(draw: Draw, keep: float) -> Plan:
    return ip.plan(draw.us.model, draw.us.example, draw.importance, budgets=[ip.budgets.macs(keep=keep)])


def blocks(draw: Draw, keep: float) -> Plan:
    budget = ip.budgets.macs(keep=keep)
    return ip.plan_depth(draw.us.model, draw.us.example, draw.moved(), budgets=budget, strategy="largest")


def blocks_and_widths(draw: Draw, keep: float) -> Plan:
    """As many blocks as half of the saving leaves, then widths for the rest."""
    left = len(draw.moved()) - len(blocks(draw, (1 + keep) / 2).edits)
    path = ip.DepthPath(draw.moved(), depths=(left,), strategy="largest")
    return ip.plan(draw.us.model, draw.us.example, draw.importance, budgets=[ip.budgets.macs(keep=keep)], depth=path)


def tokens(draw: Draw, keep: float) -> Plan:
    return ip.tokens.plan(draw.us.model, budget=ip.budgets.macs(keep=keep), score=PLACES.score)


def tokens_and_widths(draw: Draw, keep: float) -> Plan:
    budgets = [ip.budgets.macs(keep=keep)]
    return ip.plan(draw.us.model, draw.us.example, draw.importance, budgets=budgets, tokens=PLACES)


AXES = {
    "widths": widths,
    "blocks": blocks,
    "blocks and widths": blocks_and_widths,
    "tokens": tokens,
    "tokens and widths": tokens_and_widths,
}


# ----------------------------------------------------------------------------------------------------- the measures


def pruned(draw: Draw, plan: Plan) -> nn.Module:
    return ip.prune_(copy.deepcopy(draw.us.model), draw.us.example, plan, certify=False).eval()


def slower(network: nn.Module, dense: nn.Module, x: Tensor) -> Ratio:
    ms = timed({"dense": dense, "pruned": network}, x)
    return ratio(ms["pruned"], ms["dense"])


def share_for(draw: Draw, axis: str, speed: float, x: Tensor) -> float:
    """The share of the MACs at which the network takes that share of the time, by regula falsi between 0 and 1."""
    low, high, keep, nearest = (0.0, 0.0), (1.0, 1.0), speed, (1.0, speed)
    for _ in range(TRIES):
        value = slower(pruned(draw, AXES[axis](draw, keep)), draw.us.model, x).value
        nearest = min(nearest, (abs(value - speed), keep))
        if nearest[0] < NEAR:
            break
        low, high = ((keep, value), high) if value < speed else (low, (keep, value))
        keep = low[0] + (high[0] - low[0]) * (speed - low[1]) / (high[1] - low[1])
    return nearest[1]


def measured(draw: Draw, axis: str, keep: float, x: Tensor) -> dict[str, Any]:
    """One network as surgery leaves it and after compensation."""
    us, plan = draw.us, AXES[axis](draw, keep) if keep < 1 else Plan()
    network, begun = pruned(draw, plan), time.process_time()
    took = slower(network, us.model, x)
    told = {
        "time": [round(value, 4) for value in (took.value, took.low, took.high)],
        "macs": round(ip.measure(network, us.example).macs / ip.measure(us.model, us.example).macs, 4),
        "edits": len(plan.edits),
        "before": us.judged(network),
    }
    shown = sys.stderr.isatty()
    ip.compensate_(network, us.model, us.loader(draw.number), samples=us.samples, plan=plan, progress=shown)
    told |= {"after": us.judged(network), "own_cpu_s": round(time.process_time() - begun, 1)}
    if not plan.edits:
        pairs = zip(network.state_dict().values(), us.model.state_dict().values(), strict=True)
        told["unharmed"] = all(torch.equal(a, b) for a, b in pairs)
    return told


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--data", type=Path, help="folder with wheels/ and unpacked/")
    parser.add_argument(
        "--work", type=Path, default=Path(tempfile.gettempdir()), help="where trained networks are kept"
    )
    parser.add_argument("--nets", nargs="+", default=["vit", "mobilenetv2", "resnet56_grown"], choices=BATCH)
    parser.add_argument("--axes", nargs="+", default=list(AXES), choices=AXES)
    parser.add_argument("--draws", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--speed", type=float, default=0.75, help="of the dense network's time")
    parser.add_argument("--samples", type=int, help="pictures without labels (ViT: 64, others: 256)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = ResultsFile.of(options, "axes", KEY)
    if options.smoke:
        options.draws = [0]
        contest("resnet20", noise(options), options, results)
        return
    chosen = options.samples
    for net in options.nets:
        options.samples = chosen or (64 if net == "vit" else 256)
        contest(net, subject(net, options), options, results)


def noise(options: argparse.Namespace) -> Any:
    """A small network, untrained, and as little as there can be of everything."""
    us = ladder.smoke(options)
    us.samples = 32
    return us


def contest(net: str, us: Subject, options: argparse.Namespace, results: ResultsFile) -> None:
    """All axes that this network has, draw by draw."""
    whole, x = us.judged(us.model), us.example.expand(BATCH[net], -1, -1, -1).contiguous()
    axes = [axis for axis in options.axes if net == "vit" or "tokens" not in axis][: 1 if options.speed == 1 else None]
    shares: dict[str, float] = dict.fromkeys(axes, 1.0) if options.speed == 1 else {}
    ranked = cache(partial(moved, us))
    draws = {number: Draw(us, number, ranked) for number in options.draws}
    for number, axis in product(options.draws, axes):
        key = {"net": net, "axis": axis, "draw": number, "speed": options.speed, "samples": us.samples}
        shares |= {row["axis"]: row["share"] for row in results.rows() if {**row, **key, "draw": row["draw"]} == row}
        if not results.has(**key):
            if axis not in shares:
                shares[axis] = share_for(draws[number], axis, options.speed, x)
            told = {**key, "share": round(shares[axis], 4), "test": us.digest, "dense": whole}
            results.append({**told, **measured(draws[number], axis, shares[axis], x)})


if __name__ == "__main__":
    main()
