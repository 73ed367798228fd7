"""CPU time of `geometric` against cvxpy and SLSQP on the same problems, and how far its integers are from the bound.

    python benchmarks/allocation_speed.py            # times, importing excluded: a minute
    python benchmarks/allocation_speed.py --gaps     # the gap that is left, over networks, budgets, steps and utilities

Each solver gets the whole call, from `Problem` to checked counts, three rounds in turn; each row also says the gap that
the solver's own answer is left with, in percent of the sum of weights.
"""

from __future__ import annotations

import importlib
import itertools
import sys
from pathlib import Path

from interleave import cpu_ms, interleaved
from results_file import ResultsFile, arguments

from infoprune.allocation import allocate

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.allocation.networks import NETWORKS

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
KEEPS, STEPS, UTILITIES = (0.25, 0.5, 0.75), (1, 8), (-2.0, -1.0, 0.0, 1.0)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--gaps", action="store_true", help="the gaps instead of the times")
    options = parser.parse_args()
    results = ResultsFile.of(options, "allocation_speed", key=("what", "network", "step", "units", "keep", "utility"))
    if options.gaps:
        gaps(results, ("resnet20",) if options.smoke else NETWORKS)
    else:
        times(results, CASES[:1] if options.smoke else CASES)


def times(results: ResultsFile, cases: tuple) -> None:
    cpu_ms(lambda: importlib.import_module("cvxpy"))
    for name, step, units in cases:
        problem = NETWORKS[name]().problem(keep=0.5, step=step, resources=units)
        found = interleaved({solver: lambda p=problem, s=solver: allocate(p, s) for solver in SOLVERS}, 3)
        left = {solver: round(100 * allocate(problem, solver).relative_gap, 4) for solver in SOLVERS}
        about = {"what": "times", "network": name, "step": step, "units": units, "keep": 0.5, "utility": -1.0}
        results.append({**about, "sites": len(problem.sizes), "ms": found, "gap_percent": left})


def gaps(results: ResultsFile, names: tuple[str, ...]) -> None:
    for name, keep, step, utility in itertools.product(names, KEEPS, STEPS, UTILITIES):
        problem = NETWORKS[name]().problem(keep=keep, step=step, utility=utility)
        answers = []
        spent = cpu_ms(lambda p=problem, a=answers: a.append(allocate(p)))
        about = {"what": "gap", "network": name, "step": step, "units": ("macs",), "keep": keep, "utility": utility}
        results.append({**about, "gap_percent": round(100 * answers[0].relative_gap, 4), "ms": round(spent, 1)})


if __name__ == "__main__":
    main()
