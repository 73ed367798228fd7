"""The paper's solver, for comparison: sequential least squares on keep ratios, not a convex problem."""

from __future__ import annotations

from infoprune.allocation.baselines import bound_of, local_minimum
from infoprune.allocation.problem import Problem, Solution
from infoprune.allocation.rounding import rounded
from infoprune.allocation.solvers import solvers


@solvers.register("slsqp")
def slsqp(problem: Problem) -> Solution:
    """A local optimum of U_p over keep ratios, from the middle of the box; rounded like the others."""
    weights, p, total = problem.weights, problem.utility, problem.weights.sum() or 1.0
    point = local_minimum(
        problem,
        lambda a: -problem.value(a * problem.sizes) / total,
        lambda a: -weights * a ** (p - 1) / total,
        (problem.floor + problem.ceiling) / 2,
        1e-9,
    )
    return Solution(rounded(problem, point), bound_of(problem), point)
