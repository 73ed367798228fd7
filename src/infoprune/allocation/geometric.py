"""The default for p <= 0: a geometric program, convex in log k, by a few dense Newton steps."""

from __future__ import annotations

import numpy as np

from infoprune.allocation.interior_point import Optimum, maximise
from infoprune.allocation.monomials import Monomials
from infoprune.allocation.problem import Problem, Solution
from infoprune.allocation.registered import solvers
from infoprune.allocation.rounding import rounded


@solvers.register("geometric")
def geometric(problem: Problem) -> Solution:
    """The unique continuous optimum for p <= 0, rounded; any number of budgets at once."""
    optimum = continuous(problem)
    point = np.exp(optimum.x)
    return Solution(rounded(problem, point), optimum.bound, point)


def continuous(problem: Problem) -> Optimum:
    """The optimum over real counts between floors and ceilings."""
    if problem.utility > 0:
        raise ValueError(f"the geometric program needs p <= 0, found p = {problem.utility:g}; use the linear solver")
    return maximise(problem, Monomials.of(problem))
