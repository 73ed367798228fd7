"""Every solver against brute force over all allowed counts, on hundreds of small random problems; slowly, thousands."""

from itertools import product

import numpy as np
import pytest

from infoprune.allocation import Posynomial, Problem, allocate, solvers
from infoprune.allocation.grid import Levels, Tangents, grid_bound
from infoprune.allocation.linear import at_most_one
from infoprune.allocation.monomials import Monomials
from infoprune.allocation.prices import reachable

PROBLEMS = {1.0: 30, 0.0: 75, -1.0: 75, -2.0: 75}  # the mixed-integer programs of p = 1 take longest
SLACK = 1e-9


def random_cost(rng: np.random.Generator, sites: int) -> Posynomial:
    """Up to six monomials of degree at most three, squares included, with whole or real coefficients."""
    terms = int(rng.integers(1, 7))
    exponents = rng.multinomial(3, np.full(sites + 1, 1 / (sites + 1)), terms)[:, :sites]
    coefficients = rng.integers(0, 20, terms) if rng.random() < 0.5 else rng.uniform(0, 20, terms)
    return Posynomial(coefficients, exponents)


def random_problem(rng: np.random.Generator, utility: float) -> Problem:
    sites = int(rng.integers(2, 5))
    sizes = rng.integers(1, 10, sites)
    costs = [random_cost(rng, sites) for _ in range(rng.integers(1, 3))]
    weights = rng.uniform(0, 1, sites) * (rng.random(sites) < 0.9)
    options = {"floor": 1 if rng.random() < 0.5 else 0.3, "step": int(rng.integers(1, 4)), "utility": utility}
    free = Problem(weights=weights, sizes=sizes, costs=costs, limits=[1.0] * len(costs), **options)
    low, high = free.price(free.floor), free.price(free.ceiling)
    limits = np.maximum(low + rng.uniform(0, 1, len(costs)) ** 2 * (high - low), 1e-3)
    return Problem(weights=weights, sizes=sizes, costs=costs, limits=limits, **options)


def brute_force(problem: Problem) -> float:
    """The best utility over every allowed choice."""
    grid = np.array(list(product(*(problem.allowed(site) for site in range(problem.sizes.size)))))
    fits = np.all(
        [cost.prices(grid) <= limit for cost, limit in zip(problem.costs, problem.limits, strict=True)],
        axis=0,
    )
    return float((problem.site_utility(grid) @ problem.weights)[fits].max())


def solves(name: str, utility: float) -> bool:
    """The two geometric solvers need p <= 0, the linear one p = 1; any other takes both."""
    return not (name.startswith("geometric") if utility == 1 else name == "linear")


def holds(utility: float, problems: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(problems):
        problem = random_problem(rng, utility)
        answer, best = allocate(problem), brute_force(problem)
        scale = SLACK * (problem.weights.sum() + abs(best))
        assert problem.allows(answer.counts)
        assert answer.value == problem.value(answer.counts)
        assert answer.bound >= best - scale
        assert best - answer.value <= answer.gap + scale
        assert answer.value <= best + scale
        assert utility < 1 or answer.value >= best - 1e-5 * problem.weights.sum()


@pytest.mark.parametrize("utility", PROBLEMS)
def test_answers_are_feasible_bounded_and_optimal_to_the_stated_gap(utility):
    holds(utility, PROBLEMS[utility], int(10 + utility))


@pytest.mark.slow
@pytest.mark.parametrize("utility", PROBLEMS)
def test_answers_are_so_on_thousands_of_problems(utility):
    holds(utility, 20 * PROBLEMS[utility], int(20 + utility))


@pytest.mark.parametrize(("name", "utility"), [(name, p) for name in solvers for p in (1.0, -1.0) if solves(name, p)])
def test_every_registered_solver_keeps_the_contract(name, utility):
    rng = np.random.default_rng(7)
    for _ in range(12):
        problem = random_problem(rng, utility)
        answer = allocate(problem, name)
        best = brute_force(problem)
        assert problem.allows(answer.counts)
        assert answer.bound >= best - SLACK * (problem.weights.sum() + abs(best))


def test_no_unit_that_fits_is_left_out():
    rng = np.random.default_rng(3)
    for _ in range(75):
        problem = random_problem(rng, float(rng.choice([1.0, 0.0, -1.0])))
        counts = allocate(problem).counts
        for site in np.flatnonzero(counts < problem.ceiling):
            more = counts.copy()
            more[site] = problem.raised(counts)[site]
            assert not problem.allows(more)


def test_the_grid_bound_holds_for_any_tangents_and_any_multipliers():
    rng = np.random.default_rng(11)
    for _ in range(400):
        problem = random_problem(rng, float(rng.choice([1.0, 0.0, -1.0])))
        monomials = Monomials.of(problem)
        tangents = Tangents.at(monomials, rng.uniform(np.log(problem.floor), np.log(problem.ceiling)))
        multipliers = rng.exponential(0.3, monomials.budgets)
        bound = grid_bound(problem, Levels.of(problem), tangents, multipliers)
        best = brute_force(problem)
        assert bound >= best - SLACK * (problem.weights.sum() + abs(best))


def test_letting_one_site_between_its_bounds_is_enough_for_one_budget_without_squares():
    rng = np.random.default_rng(12)
    for _ in range(100):
        sites = int(rng.integers(2, 5))
        sizes, cost = (
            rng.integers(1, 10, sites),
            Posynomial(rng.uniform(0, 9, 5), rng.integers(0, 2, (5, sites))),
        )
        weights = rng.uniform(0, 1, sites)
        limit = cost(np.ones(sites)) + rng.uniform(0, 1) * (cost(sizes) - cost(np.ones(sites))) + 1e-3
        problem = Problem(weights=weights, sizes=sizes, costs=[cost], limits=[limit], utility=1.0)
        assert at_most_one(problem, cost, limit)[1] >= brute_force(problem) - SLACK * weights.sum()


def test_lowering_ceilings_to_what_is_affordable_loses_nothing():
    rng = np.random.default_rng(13)
    for _ in range(200):
        problem = random_problem(rng, -1.0)
        assert brute_force(reachable(problem)) == pytest.approx(brute_force(problem), abs=1e-12)
