"""The geometric program as cvxpy sees it, solved by Clarabel: the reference `geometric` is tested against.

One call takes one to two times as long as `geometric`; what keeps it from being the default is the import of
cvxpy, about a second before the first answer (`benchmarks/allocation_speed.py`).
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from infoprune.allocation.geometric import certified
from infoprune.allocation.interior_point import Optimum
from infoprune.allocation.lagrangian import lagrangian_bound
from infoprune.allocation.monomials import Monomials
from infoprune.allocation.problem import Problem, Solution
from infoprune.allocation.solvers import solvers


@solvers.register("geometric-cvxpy")
def geometric_cvxpy(problem: Problem) -> Solution:
    """The continuous optimum for p <= 0 by cvxpy and Clarabel, rounded and bounded like `geometric`."""
    return certified(problem, continuous(problem))


def continuous(problem: Problem) -> Optimum:
    """The optimum over real counts; its bound is recomputed from Clarabel's multipliers."""
    import cvxpy as cp

    if problem.utility > 0:
        raise ValueError(f"the geometric program needs p <= 0, found p = {problem.utility:g}; use the linear solver")
    monomials, total = Monomials.of(problem), problem.weights.sum() or 1.0
    x = cp.Variable(problem.sizes.size)
    budgets = [cp.log_sum_exp(rows @ x + logs) <= 0 for rows, logs in _rows(monomials)]
    box = [x >= np.log(problem.floor), x <= np.log(problem.ceiling)]
    cp.Problem(cp.Maximize(_utility(problem, x, total)), [*budgets, *box]).solve(solver=cp.CLARABEL)
    multipliers = np.maximum(np.array([budget.dual_value for budget in budgets], dtype=float), 0) * total
    logs = np.clip(np.asarray(x.value, dtype=float), np.log(problem.floor), np.log(problem.ceiling))
    return Optimum(logs, multipliers, lagrangian_bound(problem, monomials, logs, multipliers))


def _utility(problem: Problem, x, total: float):
    import cvxpy as cp

    p, logs = problem.utility, x - np.log(problem.sizes)
    return problem.weights / total @ (logs if p == 0 else (cp.exp(p * logs) - 1) / p)


def _rows(monomials: Monomials) -> list[tuple[sparse.csr_array, np.ndarray]]:
    """Each budget as exponents and log coefficients."""
    terms, slots = np.nonzero(monomials.factors < monomials.sites)
    shape = (monomials.log_coefficients.size, monomials.sites)
    exponents = sparse.coo_array((np.ones(terms.size), (terms, monomials.factors[terms, slots])), shape).tocsr()
    of_budget = [np.flatnonzero(monomials.budget == b) for b in range(monomials.budgets)]
    return [(exponents[rows], monomials.log_coefficients[rows]) for rows in of_budget]
