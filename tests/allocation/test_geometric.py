"""The continuous program for p <= 0: closed forms, the reference solver, invariances, monotony."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from infoprune.allocation import Posynomial, Problem, allocate, cvxpy_reference
from infoprune.allocation.geometric import continuous
from infoprune.allocation.lagrangian import lagrangian_bound
from infoprune.allocation.monomials import Monomials

utilities = st.sampled_from([0.0, -0.5, -1.0, -2.0])
seeds = st.integers(0, 10**6)


def random_problem(seed: int, utility: float, budgets: int = 2) -> Problem:
    """Six wide sites in a random quadratic, with floors that leave room."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(16, 512, 6)
    costs = [
        Posynomial.quadratic(rng.integers(0, 9, (6, 6)) * (rng.random((6, 6)) < 0.4), rng.integers(1, 99, 6))
        for _ in range(budgets)
    ]
    limits = [rng.uniform(0.1, 0.9) * cost(sizes) for cost in costs]
    return Problem(weights=rng.uniform(0.05, 1, 6), sizes=sizes, costs=costs, limits=limits, utility=utility)


def relative_gap(problem: Problem, x: np.ndarray, bound: float) -> float:
    return (bound - problem.value(np.exp(x))) / problem.weights.sum()


@given(seeds, utilities, st.integers(1, 3))
def test_the_continuous_gap_is_below_a_millionth(seed, utility, budgets):
    problem = random_problem(seed, utility, budgets)
    optimum = continuous(problem)
    assert (problem.price(np.exp(optimum.x)) <= problem.limits * (1 + 1e-9)).all()
    assert 0 <= relative_gap(problem, optimum.x, optimum.bound) + 1e-12 <= 1e-6


@settings(max_examples=40)
@given(seeds, utilities, st.integers(1, 3))
def test_it_agrees_with_cvxpy(seed, utility, budgets):
    problem = random_problem(seed, utility, budgets)
    try:
        ours, theirs = continuous(problem), cvxpy_reference.continuous(problem)
    except UserWarning as warning:  # Clarabel itself says that it did not get there: nothing to compare with
        assume("may be inaccurate" not in str(warning))
        raise
    total = problem.weights.sum()
    assert abs(problem.value(np.exp(ours.x)) - problem.value(np.exp(theirs.x))) <= 1e-6 * total
    assert abs(ours.bound - problem.value(np.exp(theirs.x))) <= 1e-6 * total


@settings(max_examples=40)
@given(st.lists(st.floats(0.1, 1), min_size=4, max_size=4), st.lists(st.integers(1, 50), min_size=4, max_size=4))
def test_with_logarithms_a_site_gets_compute_in_proportion_to_its_information(weights, prices):
    sizes, cost = np.full(4, 10**7), Posynomial(prices, np.eye(4))
    limit = 0.9 * sizes[0] * min(prices)
    problem = Problem(weights=weights, sizes=sizes, costs=[cost], limits=[limit], utility=0.0)
    spent = prices * np.exp(continuous(problem).x)
    np.testing.assert_allclose(spent / limit, np.array(weights) / sum(weights), rtol=1e-3)


def test_one_site_spends_its_whole_budget():
    problem = Problem(weights=[3], sizes=[1000], costs=[Posynomial([2], [[2]])], limits=[2 * 700.5**2], utility=-1)
    assert np.exp(continuous(problem).x)[0] == pytest.approx(700.5)
    assert allocate(problem).counts.tolist() == [700]


@settings(max_examples=40)
@given(seeds, utilities)
def test_the_bound_holds_for_any_point_and_any_multipliers(seed, utility):
    problem, rng = random_problem(seed, utility), np.random.default_rng(seed)
    monomials, optimum = Monomials.of(problem), continuous(problem)
    x = rng.uniform(np.log(problem.floor), np.log(problem.ceiling))
    multipliers = rng.exponential(1, monomials.budgets)
    assert lagrangian_bound(problem, monomials, x, multipliers) >= problem.value(np.exp(optimum.x)) - 1e-9


@settings(max_examples=40)
@given(seeds, utilities, st.floats(1.0, 1.5))
def test_more_budget_is_never_worth_less(seed, utility, more):
    problem = random_problem(seed, utility)
    wider = replace(problem, limits=problem.limits * more)
    total = problem.weights.sum()
    assert continuous(wider).bound >= continuous(problem).bound - 1e-7 * total


@settings(max_examples=20)
@given(seeds, utilities, st.sampled_from([2.0**-30, 2.0**-3, 8.0, 2.0**20]))
def test_the_scale_of_weights_and_prices_does_not_matter(seed, utility, scale):
    problem = random_problem(seed, utility)
    heavier = replace(problem, weights=problem.weights * scale)
    dearer = replace(problem, costs=[cost * scale for cost in problem.costs], limits=problem.limits * scale)
    counts = allocate(problem).counts.tolist()
    assert allocate(heavier).counts.tolist() == counts
    assert allocate(dearer).counts.tolist() == counts


def test_tiny_weights_do_not_drown_in_a_tolerance():
    problem = random_problem(1, -1.0)
    tiny = replace(problem, weights=problem.weights * 1e-9)
    assert allocate(tiny).counts.tolist() == allocate(problem).counts.tolist()


@settings(max_examples=40)
@given(seeds, utilities)
def test_the_order_of_sites_does_not_matter(seed, utility):
    problem = random_problem(seed, utility)
    order = np.random.default_rng(seed).permutation(6)
    costs = [Posynomial(cost.coefficients, cost.exponents[:, order]) for cost in problem.costs]
    moved = replace(
        problem,
        weights=problem.weights[order],
        sizes=problem.sizes[order],
        costs=costs,
        floor=1,
        ceiling=None,
    )
    assert abs(continuous(moved).bound - continuous(problem).bound) <= 1e-7 * problem.weights.sum()
