"""p = 1, the paper's objective: maximise sum_g I_g a_g, by mixed-integer programs (HiGHS).

Two relaxations are used, because neither is tight everywhere.

*At most one site between its bounds.* Under one budget whose monomials hold each site at most once, some
continuous optimum has at most one site strictly between floor and ceiling. Proof: take two that are, and
move them against each other so that U stays. Along that line every monomial is constant, linear, or a
product of both sites, c (u + t)(v - rt) with r > 0, so the price is concave in t: in one of the two
directions it never rises, until a site meets a bound. A product in which at most one factor y in [0, 1] is
fractional equals max(0, sum y - (their number - 1)), so the program in `at_most_one` is exact, with two
binaries per site. Several budgets break the argument, since each may ask for another direction; each alone,
and any weighted sum of them, is then one budget and gives a bound. Squares break it too.

*The grid.* The tangents of `grid` hold for any prices and any number of budgets, since they ask nothing of
the utility.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from infoprune.allocation.grid import Bracket, Levels, Tangents, at_most, tightened
from infoprune.allocation.interior_point import Optimum, maximise
from infoprune.allocation.monomials import Monomials
from infoprune.allocation.posynomial import Posynomial
from infoprune.allocation.problem import Problem, Solution
from infoprune.allocation.rounding import rounded
from infoprune.allocation.solvers import solvers

if TYPE_CHECKING:
    from scipy.optimize import LinearConstraint

EXACT = 1e-6  # of the sum of weights
SMALL = 80  # allowed counts in all, up to which the grid is searched until the answer is exact
NODES = 5_000
TOLERANCE = 3e-6  # of the sum of weights: what HiGHS' tolerances may cost the bound
CLOSE = 1e-5  # gap at which HiGHS may stop on fine grids


@solvers.register("linear")
def linear(problem: Problem) -> Solution:
    """The optimum for p = 1: exact on small grids, else within the gap that is stated."""
    if problem.utility != 1:
        raise ValueError(f"the linear solver needs p = 1, found p = {problem.utility:g}; use the geometric solver")
    chords, tangents = _chords(problem)
    relaxed = [(np.exp(chords.x), np.inf), *(at_most_one(problem, *budget) for budget in _single(problem, chords))]
    answers = [rounded(problem, counts) for counts, _ in relaxed]
    best = int(np.argmax([problem.value(counts) for counts in answers]))
    bracket = Bracket(answers[best], problem.value(answers[best]), min(bound for _, bound in relaxed))
    small = Levels.of(problem).site.size <= SMALL
    effort = {"goal": EXACT, "rounds": 100} if small else {}
    bracket = tightened(problem, bracket, tangents, chords.multipliers, **effort)
    return Solution(bracket.counts, bracket.bound, relaxed[best][0])


def _chords(problem: Problem) -> tuple[Optimum, Tangents]:
    """A convex relaxation in x = log k: each site's utility replaced by its chord from floor to ceiling."""
    low, high = np.log(problem.floor), np.log(problem.ceiling)
    rise = problem.weights * (problem.ceiling - problem.floor) / problem.sizes
    slopes = rise / np.where(high > low, high - low, 1)
    monomials = Monomials.of(problem)
    optimum = maximise(replace(problem, weights=slopes, utility=0.0), monomials)
    return optimum, Tangents.at(monomials, optimum.x)


def _single(problem: Problem, chords: Optimum) -> list[tuple[Posynomial, float]]:
    """Single budgets that all feasible choices meet: each, and their sum weighted by the multipliers."""
    binding = np.flatnonzero(problem.price(problem.ceiling) > problem.limits)
    budgets = [(problem.costs[b], problem.limits[b]) for b in binding.tolist()]
    if len(budgets) > 1 and chords.multipliers.any():
        scaled = chords.multipliers / chords.multipliers.sum()
        summed = [cost * (share / limit) for share, (cost, limit) in zip(scaled, budgets, strict=True)]
        budgets.append((sum(summed, Posynomial([0.0], np.zeros((1, problem.sizes.size)))), 1.0))
    return [(cost, limit) for cost, limit in budgets if cost.exponents.data.max(initial=0) <= 1]


def at_most_one(problem: Problem, cost: Posynomial, limit: float) -> tuple[np.ndarray, float]:
    """The continuous optimum under one budget whose monomials hold each site once: counts and bound."""
    from scipy.optimize import Bounds, LinearConstraint, milp

    sites, total = problem.sizes.size, problem.weights.sum() or 1.0
    products, prices, constant = _over_shares(problem, cost)
    rise = problem.weights * (problem.ceiling - problem.floor) / problem.sizes
    eye, none = sparse.eye_array(sites), sparse.csr_array((sites, len(products)))
    rows = [
        LinearConstraint(prices[None] / limit, -np.inf, 1 - constant / limit),
        LinearConstraint(sparse.hstack([eye, -eye, -eye, none]), -np.inf, 0),  # share <= kept + between
        LinearConstraint(
            sparse.hstack([eye, -eye, sparse.csr_array((sites, sites)), none]), 0, np.inf
        ),  # kept <= share
        LinearConstraint(np.repeat([0.0, 0.0, 1.0, 0.0], [sites, sites, sites, len(products)])[None], -np.inf, 1),
    ]
    if products:
        rows.append(_product_rows(products, sites))
    columns = 3 * sites + len(products)
    answer = milp(
        np.append(-rise, np.zeros(columns - sites)) / total,
        integrality=np.repeat([0, 1, 1, 0], [sites, sites, sites, len(products)]),
        bounds=Bounds(0, 1),
        constraints=rows,
        options={"mip_rel_gap": CLOSE, "node_limit": NODES},
    )
    if answer.x is None:
        return problem.floor.astype(np.float64), np.inf
    counts = problem.floor + (problem.ceiling - problem.floor) * answer.x[:sites]
    return counts, problem.value(problem.floor) + total * (TOLERANCE - answer.mip_dual_bound)


def _over_shares(problem: Problem, cost: Posynomial) -> tuple[list[tuple[int, ...]], np.ndarray, float]:
    """The price over shares y of floor..ceiling: the products of y, each column's price, the constant."""
    width, terms = problem.ceiling - problem.floor, {}
    for coefficient, row in zip(cost.coefficients, cost.factors, strict=True):
        sites = row[row < cost.sites]
        for size in range(sites.size + 1):
            for chosen in combinations(sites.tolist(), size):
                rest = np.prod(problem.floor[[g for g in sites if g not in chosen]], initial=1.0)
                price = coefficient * rest * np.prod(width[list(chosen)], initial=1.0)
                terms[chosen] = terms.get(chosen, 0.0) + price
    products = [chosen for chosen, price in terms.items() if len(chosen) > 1 and price > 0]
    single = np.array([terms.get((g,), 0.0) for g in range(cost.sites)])
    prices = np.concatenate([single, np.zeros(2 * cost.sites), [terms[chosen] for chosen in products]])
    return products, prices, terms.get((), 0.0)


def _product_rows(products: list[tuple[int, ...]], sites: int) -> LinearConstraint:
    """product >= sum of its factors - (their number - 1)."""
    sizes = [len(chosen) for chosen in products]
    row, column = np.repeat(np.arange(len(products)), sizes), np.concatenate(products)
    matrix = sparse.coo_array((np.ones(row.size), (row, column)), (len(products), 3 * sites)).tocsr()
    return at_most(sparse.hstack([matrix, -sparse.eye_array(len(products))]), np.array(sizes) - 1)
