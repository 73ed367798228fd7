"""The paper's solver, for comparison: sequential least squares on keep ratios, not a convex problem."""

from __future__ import annotations

import numpy as np

from infoprune.allocation.baselines import bound_of, budget_room, pulled_inside
from infoprune.allocation.problem import Problem, Solution
from infoprune.allocation.rounding import rounded
from infoprune.allocation.solvers import solvers


@solvers.register("slsqp")
def slsqp(problem: Problem) -> Solution:
    """A local optimum of U_p over keep ratios, from the middle of the box; rounded like the others."""
    from scipy.optimize import minimize

    sizes, weights, p = problem.sizes, problem.weights, problem.utility
    total = weights.sum() or 1.0
    optimum = minimize(
        lambda a: -problem.value(a * sizes) / total,
        (problem.floor + problem.ceiling) / 2 / sizes,
        jac=lambda a: -weights * a ** (p - 1) / total,
        method="SLSQP",
        bounds=list(zip(problem.floor / sizes, problem.ceiling / sizes, strict=True)),
        constraints=[budget_room(problem)],
        options={"maxiter": 300, "ftol": 1e-9},
    )
    point = pulled_inside(problem, optimum.x * sizes)
    return Solution(rounded(problem, point), bound_of(problem), np.asarray(point))
