"""Allocations that any layer importance must beat: they never look at the weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from infoprune.allocation.geometric import continuous
from infoprune.allocation.linear import linear
from infoprune.allocation.prices import reachable
from infoprune.allocation.problem import Problem, Solution
from infoprune.allocation.rounding import followed
from infoprune.allocation.solvers import solvers

Of = Callable[[np.ndarray], Any]  # keep ratios


@solvers.register("uniform")
def uniform(problem: Problem) -> Solution:
    """The same keep ratio everywhere, as large as fits; what rounding leaves goes where most is missing."""
    low, high = 0.0, 1.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if _fits(problem, _kept(problem, middle)) else (low, middle)
    ratio = 1.0 if _fits(problem, _kept(problem, 1.0)) else low
    point = _kept(problem, ratio)
    return Solution(followed(problem, point), bound_of(problem), point)


@solvers.register("projection")
def projection(problem: Problem) -> Solution:
    """All-ones projected onto the budgets: argmin sum_g (a_g - 1)^2 with every price within its limit.

    It is where a solver ends that starts from the whole network and stops at its first feasible point;
    published widths look like it. Found by sequential quadratic programming, then pulled towards the floors
    until it fits exactly.
    """
    point = local_minimum(problem, lambda a: ((a - 1) ** 2).sum(), lambda a: 2 * (a - 1), _kept(problem, 0.5), 1e-10)
    return Solution(followed(problem, point), bound_of(problem), point)


def local_minimum(problem: Problem, cost: Of, slope: Of, start: np.ndarray, precision: float) -> np.ndarray:
    """Counts that fit, where the cost of keep ratios has a local minimum by sequential quadratic programming."""
    from scipy.optimize import minimize

    sizes = problem.sizes
    bounds = list(zip(problem.floor / sizes, problem.ceiling / sizes, strict=True))
    options = {"maxiter": 300, "ftol": precision}
    room = [_budget_room(problem)]
    optimum = minimize(cost, start / sizes, jac=slope, method="SLSQP", bounds=bounds, constraints=room, options=options)
    return _pulled_inside(problem, optimum.x * sizes)


def _budget_room(problem: Problem) -> dict:
    """1 - price / limit >= 0 over keep ratios, in the form that SLSQP takes."""
    return {
        "type": "ineq",
        "fun": lambda a: 1 - problem.price(a * problem.sizes) / problem.limits,
        "jac": lambda a: np.array(
            [-cost.gradient(a * problem.sizes) * problem.sizes / limit for cost, limit in _budgets(problem)]
        ),
    }


def _pulled_inside(problem: Problem, point: np.ndarray) -> np.ndarray:
    """The point moved towards the floors just as far as the budgets need."""
    point = np.clip(np.nan_to_num(point), problem.floor, problem.ceiling)
    if _fits(problem, point):
        return point
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        fits = _fits(problem, problem.floor + middle * (point - problem.floor))
        low, high = (middle, high) if fits else (low, middle)
    return problem.floor + low * (point - problem.floor)


def _budgets(problem: Problem) -> zip:
    return zip(problem.costs, problem.limits, strict=True)


def _kept(problem: Problem, ratio: float) -> np.ndarray:
    return np.clip(ratio * problem.sizes, problem.floor, problem.ceiling)


def _fits(problem: Problem, counts: np.ndarray) -> bool:
    return bool((problem.price(counts) <= problem.limits).all())


def bound_of(problem: Problem) -> float:
    """What the best counts could be worth, so that a baseline's gap says what it gives away."""
    return linear(problem).bound if problem.utility == 1 else continuous(reachable(problem)).bound
