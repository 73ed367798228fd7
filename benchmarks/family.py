"""A family beside networks made one by one: accuracy without training, and what all of them cost together.

    python benchmarks/family.py [--seeds 0 1]
    python benchmarks/family.py --smoke

Both ways observe, rank, plan, prune and compensate, for three sizes. Made one by one, each size begins with a look of
its own and its plan has no ceiling. Rows go on where the program was stopped.
"""

from __future__ import annotations

import copy
import tempfile
import time
from pathlib import Path
from typing import Any

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
                    if not results.has(net=net, seed=seed, round_to=step, way=way, keep=KEEPS[-1]):
                        measure(results, {"net": net, "seed": seed, "round_to": step, "way": way}, make, options.work)


def measure(results: ResultsFile, key: dict[str, Any], make: Any, work: Path) -> None:
    """A row a size; `way_cpu_s` is what all sizes of this way took together."""
    whole, contest = dense(key["net"], work), Contest(key["seed"], pictures=BATCH if key["net"] == "tiny" else PICTURES)
    loader = [x for x, _ in contest.calibration]
    begun = time.process_time()
    made, size = make(whole, loader, key["round_to"])
    spent = {"way_cpu_s": round(time.process_time() - begun, 2), "file_bytes": size}
    before = round(accuracy(whole, *contest.test), 4)
    for keep, (network, plan) in zip(KEEPS, made, strict=True):
        told = {"macs": plan.prices["macs"].keep, "value": plan.made_by["value"], "dense": before}
        results.append({**key, "keep": keep, **told, **spent, "accuracy": round(accuracy(network, *contest.test), 4)})


def together(whole: nn.Module, loader: list[Any], round_to: int) -> tuple[Made, int]:
    seen = ip.observe(whole, loader, moments=True, progress=False)
    family = ip.family(whole, EXAMPLE, seen, keeps=KEEPS, loader=loader, round_to=round_to, progress=False)
    return [(member.model, member.plan) for member in family], written(family)


def one_by_one(whole: nn.Module, loader: list[Any], round_to: int) -> tuple[Made, int]:
    made, size = [], 0
    for keep in KEEPS:
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
