"""CPU time of `geometric` against cvxpy and SLSQP on the same problems in one process, importing excluded.

    python benchmarks/allocation_speed.py

Each solver gets the whole call, from `Problem` to checked counts, fastest of three; each row also says the gap that the
solver's own answer is left with, in percent of the sum of weights.
"""

from __future__ import annotations

import importlib
import sys
import time
from pathlib import Path

from infoprune.allocation import Problem, allocate

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "allocation"))
from networks import NETWORKS

CASES = (
    ("resnet20", 8, ("macs",)),
    ("resnet56", 1, ("macs",)),
    ("resnet50", 1, ("macs",)),
    ("resnet50", 8, ("macs",)),
    ("resnet50", 1, ("macs", "params", "activations")),
    ("mobilenet_v2", 8, ("macs",)),
    ("densenet121", 1, ("macs",)),
    ("densenet121", 8, ("macs", "params", "activations")),
)
SOLVERS = ("geometric", "geometric-cvxpy", "slsqp")


def timed(problem: Problem, solver: str) -> tuple[float, float]:
    """Fastest of three, in milliseconds of CPU, and the gap in percent."""
    times = []
    for _ in range(3):
        start = time.process_time()
        answer = allocate(problem, solver)
        times.append(1000 * (time.process_time() - start))
    return min(times), 100 * answer.relative_gap


def import_seconds(module: str) -> float:
    """CPU time of importing a module, in this process."""
    start = time.process_time()
    importlib.import_module(module)
    return time.process_time() - start


def main() -> None:
    print(f"importing cvxpy: {import_seconds('cvxpy'):.2f} s of CPU, left out below")
    print(f"{'problem':<44}" + "".join(f"{name:>26}" for name in SOLVERS) + f"{'ratios':>16}")
    for name, step, units in CASES:
        problem = NETWORKS[name]().problem(keep=0.5, step=step, units=units)
        results = [timed(problem, solver) for solver in SOLVERS]
        cells = "".join(f"{ms:>13.1f} ms, {gap:>6.3f} %" for ms, gap in results)
        ratios = " ".join(f"{ms / results[0][0]:>7.1f}x" for ms, _ in results[1:])
        print(f"{f'{name}, step {step}, ' + '+'.join(units):<44}{cells}{ratios:>16}", flush=True)


if __name__ == "__main__":
    main()
