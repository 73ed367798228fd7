"""Exact answers on the grid of allowed counts, by outer approximation: a few small mixed-integer programs
(HiGHS).

In x = log k every price is convex, so it lies above its tangents. Replacing each price by tangents leaves a
choice of one level per site under a few linear constraints, which HiGHS solves at once and which is worth at
least the true optimum. Where its answer is over budget, tangents are added there, and it is solved again
(Duran and Grossmann 1986). This holds for every utility, since a site's utility enters as a table over its
levels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from infoprune.allocation.monomials import Monomials
from infoprune.allocation.posynomial import Posynomial
from infoprune.allocation.problem import Problem, utility_of
from infoprune.allocation.rounding import rounded

if TYPE_CHECKING:
    from scipy.optimize import LinearConstraint

ROUNDING = 1e-12  # of the sum of weights
CUTS = 20
CURVED = 1e-4  # how far, relatively, the linear relaxation may be over budget before it is cut
SLACK = 1e-9
INFEASIBLE = 2  # scipy.optimize.milp's status
ANY = 1e6  # a gap that ends the search at the first counts found
GOAL = 0.0045  # of the sum of weights: a bracket this narrow is left as it is
ROUNDS = 8
MANY = 1_000  # promising counts in all, beyond which a search would take too long
NODES = 300  # branch and bound nodes per program; a count, so that an answer never depends on the clock


@dataclass(frozen=True, eq=False)
class Levels:
    """One row per allowed count of each site: whose it is, its logarithm and weighted utility."""

    site: np.ndarray
    count: np.ndarray
    x: np.ndarray
    worth: np.ndarray

    @classmethod
    def of(cls, problem: Problem) -> Levels:
        allowed = [problem.allowed(site) for site in range(problem.sizes.size)]
        site = np.repeat(np.arange(len(allowed)), [levels.size for levels in allowed])
        count = np.concatenate(allowed)
        utility = utility_of(count / problem.sizes[site], problem.utility)
        return cls(site, count, np.log(count), problem.weights[site] * utility)

    def kept(self, rows: np.ndarray) -> Levels:
        return Levels(self.site[rows], self.count[rows], self.x[rows], self.worth[rows])

    def best(self, price: np.ndarray) -> np.ndarray:
        """For every site, the most that worth - price * x reaches over its levels."""
        starts = np.flatnonzero(np.diff(self.site, prepend=-1))
        return np.maximum.reduceat(self.worth - price[self.site] * self.x, starts)


@dataclass(frozen=True, eq=False)
class Tangents:
    """Rows `slopes` @ x <= `limits` that every feasible x = log k satisfies."""

    slopes: np.ndarray
    limits: np.ndarray

    @classmethod
    def at(cls, monomials: Monomials, x: np.ndarray) -> Tangents:
        """F_b(x) + F_b'(x) (y - x) <= 0, one row per budget."""
        prices, shares = monomials.log_prices(x)
        slopes = monomials.jacobian(shares)
        return cls(slopes, slopes @ x - prices)

    def joined(self, other: Tangents) -> Tangents:
        return Tangents(np.concatenate([self.slopes, other.slopes]), np.concatenate([self.limits, other.limits]))


@dataclass(frozen=True, eq=False)
class Bracket:
    """The best counts so far, and the bound that no feasible counts exceed."""

    counts: np.ndarray
    value: float
    bound: float

    def raised(self, problem: Problem, counts: np.ndarray) -> Bracket:
        value = problem.value(counts)
        return replace(self, counts=counts, value=value) if value > self.value else self

    def lowered(self, bound: float) -> Bracket:
        return replace(self, bound=max(self.value, min(self.bound, bound)))


def grid_bound(problem: Problem, levels: Levels, tangents: Tangents, multipliers: np.ndarray) -> float:
    """max over the grid of U(k) - m'(tangents): a bound for any m >= 0, and a sum over sites."""
    price = multipliers @ tangents.slopes
    return float(levels.best(price).sum() + multipliers @ tangents.limits + ROUNDING * problem.weights.sum())


def tightened(
    problem: Problem,
    bracket: Bracket,
    tangents: Tangents,
    multipliers: np.ndarray,
    *,
    goal: float = GOAL,
    rounds: int = ROUNDS,
) -> Bracket:
    """The bracket narrowed until bound - value <= goal * sum of weights, or for so many rounds.

    Each round asks for counts that are worth more than value + goal and below every tangent. If there are
    none, value + goal is a bound; else they improve the value, or show where a tangent is missing.
    """
    margin, levels, monomials = goal * problem.weights.sum(), Levels.of(problem), Monomials.of(problem)
    bracket = bracket.lowered(grid_bound(problem, levels, tangents, multipliers))
    if bracket.bound - bracket.value <= margin:
        return bracket
    if _promising(problem, levels, tangents, multipliers, bracket.value + margin).site.size > MANY:
        return bracket
    tangents, multipliers, mixture = _relaxed(problem, levels, tangents, monomials)
    bracket = bracket.lowered(grid_bound(problem, levels, tangents, multipliers))
    bracket = bracket.raised(problem, rounded(problem, mixture))
    levels = _promising(problem, levels, tangents, multipliers, bracket.value + margin)
    pairs = twins(problem)
    for _ in range(rounds):
        if bracket.bound - bracket.value <= margin:
            break
        counts, proven = _beating(problem, levels, tangents, pairs, bracket.value + margin)
        if proven:
            return bracket.lowered(bracket.value + margin)
        if counts is None:
            break
        bracket = bracket.raised(problem, rounded(problem, counts))
        tangents = tangents.joined(Tangents.at(monomials, np.log(counts)))
    return bracket


def _relaxed(
    problem: Problem, levels: Levels, tangents: Tangents, monomials: Monomials
) -> tuple[Tangents, np.ndarray, np.ndarray]:
    """Tangents wherever mixtures of levels are over budget; the multipliers and counts of that program."""
    from scipy.optimize import linprog

    once, total = _one_level_each(problem, levels), problem.weights.sum()
    for _ in range(CUTS):
        rows = tangents.slopes[:, levels.site] * levels.x
        answer = linprog(-levels.worth / total, rows, tangents.limits, once, np.ones(problem.sizes.size), (0, 1))
        if answer.x is None:  # only where the floors just fit; the bound so far stands
            return tangents, np.zeros(tangents.limits.size), problem.floor
        multipliers = np.maximum(-answer.ineqlin.marginals, 0) * total
        x = np.bincount(levels.site, answer.x * levels.x, problem.sizes.size)
        if (monomials.log_prices(x)[0] <= CURVED).all():
            break
        tangents = tangents.joined(Tangents.at(monomials, x))
    unused = tangents.limits.size - multipliers.size
    return tangents, np.append(multipliers, np.zeros(unused)), np.exp(x)


def _promising(problem: Problem, levels: Levels, tangents: Tangents, multipliers: np.ndarray, target: float) -> Levels:
    """The levels with which `target` could still be reached, by the separable bound."""
    price = multipliers @ tangents.slopes
    bound = grid_bound(problem, levels, tangents, multipliers)
    reach = bound - levels.best(price)[levels.site] + levels.worth - price[levels.site] * levels.x
    return levels.kept(reach >= target)


def at_most(rows: Any, limits: Any) -> LinearConstraint:
    """rows @ x <= limits, one limit a row."""
    from scipy.optimize import LinearConstraint

    return LinearConstraint(rows, -np.inf, limits)


def _beating(
    problem: Problem, levels: Levels, tangents: Tangents, pairs: np.ndarray, target: float
) -> tuple[np.ndarray | None, bool]:
    """Counts worth at least `target` under the tangents, if found, and whether there are provably none."""
    from scipy.optimize import Bounds, LinearConstraint, milp

    if np.unique(levels.site).size < problem.sizes.size:
        return None, True
    total, first, second = problem.weights.sum(), pairs[:, :1], pairs[:, 1:]
    worth = levels.worth / total
    descending = ((levels.site == first).astype(float) - (levels.site == second)) * levels.x
    rows = [
        LinearConstraint(_one_level_each(problem, levels), 1, 1),
        at_most(tangents.slopes[:, levels.site] * levels.x, tangents.limits + SLACK),
        LinearConstraint(worth[None], target / total, np.inf),
        LinearConstraint(descending, -SLACK, np.inf),
    ]
    options = {"node_limit": NODES, "mip_rel_gap": ANY}
    answer = milp(-worth, integrality=np.ones(worth.size), bounds=Bounds(0, 1), constraints=rows, options=options)
    if answer.x is None:
        return None, answer.status == INFEASIBLE
    counts, picked = problem.floor.copy(), answer.x > 0.5
    counts[levels.site[picked]] = levels.count[picked]
    return counts, False


def _one_level_each(problem: Problem, levels: Levels) -> sparse.csr_array:
    columns = levels.site.size
    return sparse.csr_array((np.ones(columns), (levels.site, np.arange(columns))), (problem.sizes.size, columns))


def twins(problem: Problem) -> np.ndarray:
    """Pairs of sites that can trade places without changing any utility or price.

    Each site is paired with the next one like it, so that along such a chain counts may be assumed to
    descend; without that order a solver would look at every permutation of equal blocks.
    """
    alike = np.stack([problem.weights, problem.sizes, problem.floor, problem.ceiling, problem.step], axis=1)
    costs = [cost.simplified() for cost in problem.costs]
    pairs, last = [], {}
    for site, traits in enumerate(map(tuple, alike)):
        if traits in last and all(_unchanged_by_trade(cost, last[traits], site) for cost in costs):
            pairs.append((last[traits], site))
        last[traits] = site
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def _unchanged_by_trade(cost: Posynomial, one: int, other: int) -> bool:
    """Whether renaming `one` to `other` and back leaves the monomials as they are, looking only at theirs."""
    renamed = np.arange(cost.sites + 1)
    renamed[[one, other]] = other, one
    touched = np.isin(cost.factors, (one, other)).any(axis=1)
    factors, coefficients = cost.factors[touched], cost.coefficients[touched]
    return _listed(factors, coefficients) == _listed(renamed[factors], coefficients)


def _listed(factors: np.ndarray, coefficients: np.ndarray) -> list[tuple[float, ...]]:
    return sorted((*row, c) for row, c in zip(np.sort(factors, axis=1).tolist(), coefficients.tolist(), strict=True))
