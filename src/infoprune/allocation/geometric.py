"""The default for p <= 0: a geometric program, convex in log k, by a few dense Newton steps."""

from __future__ import annotations

import numpy as np

from infoprune.allocation.grid import Bracket, Tangents, tightened
from infoprune.allocation.interior_point import Optimum, maximise
from infoprune.allocation.monomials import Monomials
from infoprune.allocation.problem import Problem, Solution
from infoprune.allocation.rounding import rounded
from infoprune.allocation.solvers import solvers


@solvers.register("geometric")
def geometric(problem: Problem) -> Solution:
    """The unique continuous optimum for p <= 0, rounded; any number of budgets at once.

    Where the steps are so coarse that rounding may have lost much, `grid.tightened` searches on and lowers
    the bound.
    """
    return certified(problem, continuous(problem))


def certified(problem: Problem, optimum: Optimum) -> Solution:
    """The continuous optimum rounded, and its bound lowered to what holds on the grid of allowed counts."""
    point = np.exp(optimum.x)
    counts = rounded(problem, point)
    bracket = Bracket(counts, problem.value(counts), optimum.bound)
    tangents = Tangents.at(Monomials.of(problem), optimum.x)
    bracket = tightened(problem, bracket, tangents, optimum.multipliers)
    return Solution(bracket.counts, bracket.bound, point)


def continuous(problem: Problem) -> Optimum:
    """The optimum over real counts between floors and ceilings."""
    if problem.utility > 0:
        raise ValueError(f"the geometric program needs p <= 0, found p = {problem.utility:g}; use the linear solver")
    return maximise(problem, Monomials.of(problem))
