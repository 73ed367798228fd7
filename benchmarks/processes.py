"""What one, two and four processes spend on the same pictures: observation, curves and compensation.

    python benchmarks/processes.py [--worlds 1 2 4]         # minutes of a core

Processes are forked and meet by gloo on this machine. What counts is the CPU time of the process that spends most:
elapsed time on a machine that does other things tells of these. It is elapsed time where every process has a core.
"""

from __future__ import annotations

import copy
import json
import os
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from results_file import ResultsFile, arguments
from torch import nn

import infoprune as ip
from infoprune.models import resnet20_cifar

IMPORTANCE = ip.importance.CapacityImportance()
SAMPLES, BATCH = 256, 16


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--worlds", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--samples", type=int, default=SAMPLES)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.smoke:
        options.worlds, options.samples = [1, 2], 64
    results = ResultsFile.of(options, "processes", ("job", "world", "samples"))
    for world in options.worlds:
        for job in JOBS:
            about = {"job": job, "world": world, "samples": options.samples}
            if not results.has(**about):
                spent = spent_by(world, job, options.samples)
                results.append(about | {"processes_cpu_s": spent, "busiest_cpu_s": max(spent)})


def spent_by(world: int, job: str, samples: int) -> list[float]:
    """CPU seconds of each of `world` processes."""
    with tempfile.TemporaryDirectory() as folder:
        children = []
        for rank in range(world):
            children.append(os.fork())
            if not children[-1]:
                worked(Path(folder), rank, world, job, samples)
        for child in children:
            os.waitpid(child, 0)
        return [json.loads(Path(folder, f"{rank}.json").read_text()) for rank in range(world)]


def worked(folder: Path, rank: int, world: int, job: str, samples: int) -> None:
    """A process that leaves the seconds it spent; it does not return."""
    try:
        dist.init_process_group("gloo", init_method=f"file://{folder / 'meet'}", rank=rank, world_size=world)
        model, pictures = network(samples)
        begun = time.process_time()
        JOBS[job](model, pictures, rank, world)
        (folder / f"{rank}.json").write_text(json.dumps(round(time.process_time() - begun, 2)))
        dist.destroy_process_group()
    except BaseException:
        traceback.print_exc()
    os._exit(0)


def network(samples: int) -> tuple[nn.Module, list[torch.Tensor]]:
    torch.manual_seed(0)
    model = resnet20_cifar().eval()
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.weight.data.uniform_(0.5, 1.5)
    return model, list(torch.randn(samples, 3, 32, 32).split(BATCH))


def observation(model: nn.Module, pictures: list[torch.Tensor], rank: int, world: int) -> None:
    ip.observe(model, pictures[rank::world], progress=False, moments=True).all_reduce()


def curves(model: nn.Module, pictures: list[torch.Tensor], rank: int, world: int) -> None:
    ip.layerwise.curves(model, pictures[: len(pictures) // 2], IMPORTANCE, progress=False)


def compensation(model: nn.Module, pictures: list[torch.Tensor], rank: int, world: int) -> None:
    plan = ip.plan(model, pictures[0][:1], IMPORTANCE, rates=0.5)
    pruned = ip.prune_(copy.deepcopy(model), pictures[0][:1], plan, certify=False)
    ip.compensate_(pruned, model, pictures[rank::world], progress=False, plan=plan)


JOBS: dict[str, Callable[..., Any]] = {"observation": observation, "curves": curves, "compensation": compensation}


if __name__ == "__main__":
    main()
