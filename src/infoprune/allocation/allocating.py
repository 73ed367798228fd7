"""`allocate`: from a problem to counts that were checked, with a bound on what any others could be worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from infoprune.allocation.geometric import geometric
from infoprune.allocation.linear import linear
from infoprune.allocation.prices import reachable
from infoprune.allocation.problem import Problem, Solver
from infoprune.allocation.solvers import solvers
from infoprune.allocation.ties import tied


@dataclass(frozen=True)
class Guards:
    """Whether the weights decided anything: mean |difference| of keep ratios from two other allocations.

    `from_uniform` compares with equal weights, `from_permuted` with the weights dealt to other sites.
    """

    from_uniform: float
    from_permuted: float

    def __str__(self) -> str:
        if self.from_permuted == 0:
            return "permuting the weights does not change the answer: they decide nothing here"
        return (
            f"keep ratios differ by {self.from_uniform:.1%} on average from those of uniform weights, "
            f"and by {self.from_permuted:.1%} when the weights are permuted"
        )


@dataclass(frozen=True, eq=False)
class Allocation:
    """Counts per site, what they are worth and cost, and `bound`: nothing feasible is worth more.

    `value` and `bound` are in the units of the weights; `continuous` is the point that was rounded. `str()`
    is a table.
    """

    counts: np.ndarray
    value: float
    bound: float
    costs: np.ndarray
    solver: str
    continuous: np.ndarray
    problem: Problem
    solve: Solver

    @property
    def gap(self) -> float:
        """bound - value >= 0: what these counts may at most be short of the best ones."""
        return max(0.0, self.bound - self.value)

    @property
    def relative_gap(self) -> float:
        """The gap as a fraction of the sum of weights; 0 if all weights are 0."""
        total = float(self.problem.weights.sum())
        return self.gap / total if total else 0.0

    @cached_property
    def guards(self) -> Guards:
        """Solves twice more, when asked."""
        weights = self.problem.weights
        dealt_on = np.roll(weights, max(1, weights.size // 2))
        return Guards(self._moved(np.ones_like(weights)), self._moved(dealt_on))

    def _moved(self, weights: np.ndarray) -> float:
        other = self.solve(reachable(replace(self.problem, weights=weights)))
        return float(np.mean(np.abs(self.counts - other.counts) / self.problem.sizes))

    def __str__(self) -> str:
        return "\n".join([*_site_rows(self), *_budget_rows(self), _verdict(self), str(self.guards)])


def allocate(problem: Problem, solver: Solver | str | None = None, *, ties: Sequence[Sequence[int]] = ()) -> Allocation:
    """How many units each site keeps, by a solver, a solver's name, or the one that fits p (`geometric` or
    `linear`).

    Whatever the solver, its counts are re-checked against grid and budgets before they are returned. The sites of each
    group in `ties` (told by their places) keep one share of their units; value and bound then are of such counts alone.

    >>> from infoprune.allocation import Posynomial
    >>> macs = Posynomial.quadratic([[0, 9], [0, 0]], [27, 10])
    >>> problem = Problem(weights=[1, 2], sizes=[16, 32], costs=[macs], limits=[2500], resources=["MACs"])
    >>> allocate(problem).counts
    array([ 7, 31])
    """
    problem.require_feasible()
    chosen = _solver(problem, solver)
    chosen = tied(chosen, ties) if ties else chosen
    solution = chosen(reachable(problem))
    counts, name = np.asarray(solution.counts), getattr(chosen, "__name__", type(chosen).__name__)
    if not problem.allows(counts):
        raise ValueError(f"solver {name} returned counts off the grid or over budget: {counts}")
    value, bound = problem.value(counts), float(solution.bound)
    return Allocation(counts, value, bound, problem.price(counts), name, solution.continuous, problem, chosen)


def _solver(problem: Problem, solver: Solver | str | None) -> Solver:
    if solver is None:
        return linear if problem.utility == 1 else geometric
    return solvers[solver] if isinstance(solver, str) else solver


def _site_rows(allocation: Allocation) -> list[str]:
    problem, names = allocation.problem, allocation.problem.names or ()
    top, width = problem.weights.max() or 1.0, max(map(len, [*names, "site"]))
    head = f"{'site':<{width}}  {'keep':>6} {'of':>6} {'ratio':>6} {'weight':>7}"
    rows = zip(names, allocation.counts, problem.sizes, problem.weights / top, strict=True)
    return [head, *(f"{name:<{width}}  {k:>6} {n:>6} {k / n:>6.2f} {w:>7.4f}" for name, k, n, w in rows)]


def _budget_rows(allocation: Allocation) -> list[str]:
    rows = zip(allocation.problem.resources or (), allocation.costs, allocation.problem.limits, strict=True)
    return [f"{unit}: {cost:.6g} of {limit:.6g} ({cost / limit:.2%})" for unit, cost, limit in rows]


def _verdict(allocation: Allocation) -> str:
    return (
        f"utility {allocation.value:.6g}, at most {allocation.bound:.6g} possible "
        f"(gap {allocation.relative_gap:.3%} of the sum of weights, {allocation.solver})"
    )
