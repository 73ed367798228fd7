"""Sites that keep one share of their units: one unknown in the place of several, so that every solver is as exact.

Sites of K_g = m_g K units that keep k_g = m_g k of them, K being the largest number that divides all sizes, are worth
sum_g I_g ((k/K)^p - 1)/p: what one site of K units and weight sum_g I_g is worth. A monomial of their counts is one of
k, with m_g^e as a factor. What bounds the value of the one bounds that of the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from infoprune.allocation.posynomial import Posynomial
from infoprune.allocation.prices import reachable
from infoprune.allocation.problem import Problem, Solution, Solver


@dataclass(frozen=True, eq=False)
class Ties:
    """The unknown of each site, and how many of the site's units go with one of its."""

    unknown: np.ndarray
    units: np.ndarray

    @classmethod
    def of(cls, groups: Sequence[Sequence[int]], sizes: np.ndarray) -> Ties:
        """Sites of one group are tied, all others are unknowns of their own; groups may not overlap."""
        leader = np.arange(sizes.size)
        shared = sizes.copy()
        for group in groups:
            leader[list(group)] = min(group)
            shared[list(group)] = np.gcd.reduce(sizes[list(group)])
        return cls(np.unique(leader, return_inverse=True)[1], sizes // shared)

    def merged(self, problem: Problem) -> Problem:
        """The same problem in the unknowns."""
        first = np.unique(self.unknown, return_index=True)[1]
        step = np.array([np.lcm.reduce(s) for s in self._each(problem.step // np.gcd(problem.step, self.units))])
        sizes = problem.sizes[first] // self.units[first]
        lowest = np.array([max(floor) for floor in self._each(-(-problem.floor // self.units))])
        highest = np.array([min(ceiling) for ceiling in self._each(problem.ceiling // self.units)])
        step = np.minimum(step, sizes)
        lowest = np.minimum(-(-lowest // step) * step, sizes)
        return Problem(
            weights=np.bincount(self.unknown, problem.weights),
            sizes=sizes,
            costs=[self._cost(cost) for cost in problem.costs],
            limits=problem.limits,
            floor=lowest,
            step=step,
            utility=problem.utility,
            ceiling=np.maximum(highest, lowest),
            names=[", ".join(names) for names in self._each(np.array(problem.names))],
            resources=problem.resources,
        )

    def counts(self, unknowns: np.ndarray) -> np.ndarray:
        """What the sites keep."""
        return unknowns[self.unknown] * self.units

    def _each(self, values: np.ndarray) -> list[np.ndarray]:
        """What the sites of each unknown have."""
        return [values[self.unknown == unknown] for unknown in range(self.unknown.max() + 1)]

    def _cost(self, cost: Posynomial) -> Posynomial:
        sites = self.unknown.size
        joins = sparse.csr_array((np.ones(sites), (np.arange(sites), self.unknown)))
        scale = np.append(self.units, 1.0)[cost.factors].prod(axis=1)
        return Posynomial(cost.coefficients * scale, cost.exponents @ joins).simplified()


def tied(solver: Solver, groups: Sequence[Sequence[int]]) -> Solver:
    """The solver of problems in which the sites of each group, told by their places, keep one share of their units."""

    def solve(problem: Problem) -> Solution:
        ties = Ties.of(groups, problem.sizes)
        merged = ties.merged(problem)
        merged.require_feasible()
        solution = solver(reachable(merged))
        return Solution(ties.counts(solution.counts), solution.bound, ties.counts(solution.continuous))

    solve.__name__ = getattr(solver, "__name__", type(solver).__name__)
    return solve
