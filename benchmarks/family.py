"""A family beside networks made one by one: accuracy without training, and what all of them cost together.

    python benchmarks/family.py [--seeds 0 1]
    python benchmarks/family.py --smoke

Both ways observe, rank, plan, prune and compensate, for three sizes. Made one by one, each size begins with a look of
its own and its plan has no ceiling. A size of which nothing is cut goes through the same steps and must come out as it
was, bit for bit. Rows go on where the program was stopped.
"""

from __future__ import annotations

import copy
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from results_file import ResultsFile, arguments
from task_digits import BATCH, EXAMPLE, Contest, accuracy, add_contest, contest_options, dense
from torch import nn

import infoprune as ip
from infoprune.surgery import Plan

KEEPS = (0.75, 0.5, 0.35)
PICTURES = 2_000  # that judge
STEPS = (1, 8)
Made = list[tuple[nn.Module, Plan]]


def main() -> None:
    parser = arguments(__doc__)
    add_contest(parser)
    parser.set_defaults(nets=["resnet20"], seeds=[0, 1])
    options = contest_options(parser)
    results = ResultsFile.of(options, "family", ("net", "seed", "round_to", "way", "keep"))
    for net in options.nets:
        for seed in options.seeds:
            for step in STEPS:
                for way, make in {"family": together, "one by one": one_by_one}.items():
                    key = {"net": net, "seed": seed, "round_to": step, "way": way}
                    if not results.has(**key, keep=KEEPS[-1]):
                        measure(results, key, make, options.work)
                    if not results.has(**key, keep=1.0):
                        measure_uncut(results, key, make, options.work)


def measure(results: ResultsFile, key: dict[str, Any], make: Any, work: Path) -> None:
    """A row a size; `way_cpu_s` is what all sizes of this way took together."""
    whole, contest = dense(key["net"], work), Contest(key["seed"], pictures=BATCH if key["net"] == "tiny" else PICTURES)
    loader = [x for x, _ in contest.calibration]
    begun = time.process_time()
    made, size = make(whole, loader, key["round_to"], KEEPS)
    spent = {"way_cpu_s": round(time.process_time() - begun, 2), "file_bytes": size}
    before = round(accuracy(whole, *contest.test), 4)
    for keep, (network, plan) in zip(KEEPS, made, strict=True):
        told = {"macs": plan.prices["macs"].keep, "value": plan.made_by["value"], "dense": before}
        results.append({**key, "keep": keep, **told, **spent, "accuracy": round(accuracy(network, *contest.test), 4)})


def measure_uncut(results: ResultsFile, key: dict[str, Any], make: Any, work: Path) -> None:
    """Whether the network of which everything is kept has the weights of the dense one, and its answers."""
    whole, contest = dense(key["net"], work), Contest(key["seed"], pictures=BATCH if key["net"] == "tiny" else PICTURES)
    before, x = copy.deepcopy(whole.state_dict()), contest.test[0][:BATCH]
    [[network, plan]], _ = make(whole, [x for x, _ in contest.calibration], key["round_to"], (1.0,))
    same = all(torch.equal(a, b) for a, b in zip(before.values(), network.state_dict().values(), strict=True))
    with torch.no_grad():
        told = {"same_weights": same, "same_answers": torch.equal(whole(x), network(x))}
    results.append({**key, "keep": 1.0, "macs": plan.prices["macs"].keep, **told})


def together(whole: nn.Module, loader: list[Any], round_to: int, keeps: tuple[float, ...]) -> tuple[Made, int]:
    seen = ip.observe(whole, loader, moments=True, progress=False)
    family = ip.family(whole, EXAMPLE, seen, keeps=keeps, loader=loader, round_to=round_to, progress=False)
    return [(member.model, member.plan) for member in family], written(family)


def one_by_one(whole: nn.Module, loader: list[Any], round_to: int, keeps: tuple[float, ...]) -> tuple[Made, int]:
    made, size = [], 0
    for keep in keeps:
        seen = ip.observe(whole, loader, moments=True, progress=False)
        importance, budget = ip.importance.ConditionalImportance(seen), ip.budgets.macs(keep=keep)
        plan = ip.plan(whole, EXAMPLE, importance, budgets=[budget], round_to=round_to)
        network = ip.prune_(copy.deepcopy(whole), EXAMPLE, plan)
        ip.compensate_(network, whole, loader, progress=False)
        made.append((network, plan))
        size += written(network, plan)
    return made, size


def written(*network: Any) -> int:
    """Bytes of the file of weights."""
    with tempfile.TemporaryDirectory() as folder:
        return (ip.save(Path(folder) / "a", *network) / "model.safetensors").stat().st_size


if __name__ == "__main__":
    main()
