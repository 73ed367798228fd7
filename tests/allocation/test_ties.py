"""Tied sites keep one share of their units: 40 random problems against every tied choice."""

from itertools import combinations, product

import numpy as np
import pytest
from tests.allocation.test_certified import random_cost

from infoprune.allocation import Posynomial, Problem, allocate
from infoprune.errors import Infeasible

SLACK = 1e-9


def random_tied_problem(rng, utility):
    """Three to five sites, the first two or three of them tied, of sizes with a factor in common."""
    sites, base, count = int(rng.integers(3, 6)), int(rng.integers(2, 7)), int(rng.integers(2, 4))
    sizes = np.append(base * rng.integers(1, 4, count), rng.integers(1, 7, sites))[:sites]
    costs = [random_cost(rng, sites) for _ in range(rng.integers(1, 3))]
    floor = 1 if rng.random() < 0.5 else 0.3
    options = {
        "floor": floor,
        "step": rng.integers(1, 4, sites),
        "utility": utility,
        "weights": rng.uniform(0, 1, sites),
    }
    free = Problem(sizes=sizes, costs=costs, limits=[1.0] * len(costs), **options)
    low, high = free.price(free.floor), free.price(free.ceiling)
    limits = np.maximum(low + rng.uniform(0, 1, len(costs)) * (high - low), 1e-3)
    return Problem(sizes=sizes, costs=costs, limits=limits, **options), list(range(count))


def best_tied(problem, group):
    """The best utility over every allowed choice in which the group's shares are equal; None where there is none."""
    grid = np.array(list(product(*(problem.allowed(site) for site in range(problem.sizes.size)))))
    for one, other in combinations(group, 2):
        grid = grid[grid[:, one] * problem.sizes[other] == grid[:, other] * problem.sizes[one]]
    fits = [cost.prices(grid) <= limit for cost, limit in zip(problem.costs, problem.limits, strict=True)]
    grid = grid[np.all(fits, axis=0)]
    return float((problem.site_utility(grid) @ problem.weights).max()) if len(grid) else None


@pytest.mark.parametrize("utility", [1.0, 0.0, -1.0, -2.0])
def test_tied_answers_are_feasible_bounded_and_optimal_to_the_stated_gap(utility):
    rng, solved = np.random.default_rng(int(40 + utility)), 0
    while solved < 10:
        problem, group = random_tied_problem(rng, utility)
        best = best_tied(problem, group)
        if best is None:
            with pytest.raises(Infeasible):
                allocate(problem, ties=[group])
            continue
        solved += 1
        answer, scale = allocate(problem, ties=[group]), SLACK * (problem.weights.sum() + abs(best))
        shares = answer.counts[group] / problem.sizes[group]
        assert np.ptp(shares) == 0
        assert problem.allows(answer.counts)
        assert best - answer.gap - scale <= answer.value <= best + scale <= answer.bound + 2 * scale
        assert utility < 1 or answer.value >= best - 1e-5 * problem.weights.sum()


def test_a_tie_costs_no_more_than_it_must():
    """Two blocks of one layer each: alone the dearer one keeps less, tied both keep the same number."""
    cost = Posynomial([10.0, 30.0], [[1, 0], [0, 1]])
    problem = Problem(weights=[1, 1], sizes=[16, 16], costs=[cost], limits=[400], utility=0.0)
    assert allocate(problem).counts.tolist() == [16, 8]
    assert allocate(problem, ties=[[0, 1]]).counts.tolist() == [10, 10]


def test_several_ties_hold_at_once_and_guards_ask_under_them():
    cost = Posynomial([1.0, 2.0, 3.0, 4.0], np.eye(4))
    problem = Problem(weights=[1, 4, 1, 2], sizes=[8, 8, 16, 8], costs=[cost], limits=[60], utility=-1.0)
    answer = allocate(problem, ties=[[0, 2], [1, 3]])
    assert answer.counts[2] == 2 * answer.counts[0]
    assert answer.counts[1] == answer.counts[3]
    assert 0 <= answer.guards.from_uniform < 1
