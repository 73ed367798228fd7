"""`allocate`: from a problem to counts that were checked, with a bound on what any others could be worth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from infoprune.allocation.geometric import geometric
from infoprune.allocation.prices import reachable
from infoprune.allocation.problem import Problem, Solution
from infoprune.allocation.registered import solvers

Solver = Callable[[Problem], Solution]


@dataclass(frozen=True, eq=False)
class Allocation:
    """Counts per site, what they are worth and cost, and `bound`: nothing feasible is worth more.

    `value` and `bound` are in the units of the weights; `continuous` is the point that was rounded.
    """

    counts: np.ndarray
    value: float
    bound: float
    costs: np.ndarray
    solver: str
    continuous: np.ndarray
    problem: Problem

    @property
    def gap(self) -> float:
        """bound - value >= 0: what these counts may at most be short of the best ones."""
        return max(0.0, self.bound - self.value)


def allocate(problem: Problem, solver: Solver | str | None = None) -> Allocation:
    """How many units each site keeps. The default solver is `geometric`.

    Whatever the solver, its counts are re-checked against grid and budgets before they are returned.
    """
    problem.require_feasible()
    chosen = geometric if solver is None else solvers[solver] if isinstance(solver, str) else solver
    solution = chosen(reachable(problem))
    counts, name = np.asarray(solution.counts), getattr(chosen, "__name__", type(chosen).__name__)
    if not problem.allows(counts):
        raise ValueError(f"solver {name} returned counts off the grid or over budget: {counts}")
    return Allocation(
        counts, problem.value(counts), solution.bound, problem.price(counts), name, solution.continuous, problem
    )
