"""A bound that no feasible point exceeds, from any point and any multipliers."""

from __future__ import annotations

import numpy as np

from infoprune.allocation.monomials import Monomials
from infoprune.allocation.problem import Problem

ROUNDING = 1e-12  # of the sum of weights: covers the floating-point error of the bound itself


def lagrangian_bound(problem: Problem, monomials: Monomials, x: np.ndarray, multipliers: np.ndarray) -> float:
    """U(x) - m'F(x) + max over the box of its tangent at x; valid for every x and every m >= 0, for p <= 0.

    Whatever is feasible has F <= 0 and so is worth at most max L, where L = U - m'F is concave in x = log k.
    A concave function lies below its tangent, and a tangent's maximum over the box of floors and ceilings is
    a sum over sites. The bound is tight where x is optimal and m are its multipliers.
    """
    low, high = np.log(problem.floor), np.log(problem.ceiling)
    prices, shares = monomials.log_prices(x)
    slope = utility_slope(problem, x) - multipliers @ monomials.jacobian(shares)
    tangent = np.where(slope > 0, slope * (high - x), slope * (low - x)).sum()
    value = problem.weights @ problem.site_utility(np.exp(x))
    return float(value - multipliers @ prices + tangent + ROUNDING * problem.weights.sum())


def utility_slope(problem: Problem, x: np.ndarray) -> np.ndarray:
    """dU/dx_g = I_g a_g^p."""
    return problem.weights * np.exp(problem.utility * (x - np.log(problem.sizes)))
