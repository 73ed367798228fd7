"""What a problem allows, and how it refuses what makes no sense."""

import numpy as np
import pytest

from infoprune.allocation import Posynomial, Problem, allocate
from infoprune.errors import Infeasible, UnknownName

LINE = Posynomial([1.0, 2.0], [[1, 0], [0, 1]])


def problem(**changes) -> Problem:
    given = {"weights": [1, 2], "sizes": [20, 30], "costs": [LINE], "limits": [40], "floor": 1, "step": 8}
    return Problem(**{**given, **changes})


def test_allowed_counts_are_multiples_of_the_step_and_the_full_size():
    assert problem().allowed(0).tolist() == [8, 16, 20]
    assert problem(sizes=[5, 30]).allowed(0).tolist() == [5]
    assert problem(ceiling=19).allowed(0).tolist() == [8, 16]
    assert problem(step=[1, 8], floor=[18, 9]).allowed(0).tolist() == [18, 19, 20]


def test_floors_count_units_as_integers_and_fractions_as_floats():
    assert problem(step=1, floor=3).floor.tolist() == [3, 3]
    assert problem(step=1, floor=0.1).floor.tolist() == [2, 3]
    assert problem(step=1, floor=0.0).floor.tolist() == [1, 1]
    assert problem(step=8, floor=0.41).floor.tolist() == [16, 16]
    assert problem(step=8, floor=[0.1, 1.0]).floor.tolist() == [8, 30]


def test_steps_up_and_down_stay_on_the_grid():
    given = problem()
    assert given.raised(np.array([16, 24])).tolist() == [20, 30]
    assert given.lowered(np.array([20, 30])).tolist() == [16, 24]
    assert given.at_or_below([15.9, 29.9]).tolist() == [8, 24]
    full = problem(sizes=[5, 30])
    assert full.raised(np.array([5, 8]), 0).tolist() == [5, 8]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"weights": [1, np.nan]}, "weights must be finite"),
        ({"weights": [1, -1]}, r"weights\[1\] is -1"),
        ({"weights": [1]}, "weights have shape"),
        ({"sizes": []}, "no sites"),
        ({"sizes": [20, 0]}, "sizes must be whole"),
        ({"sizes": [20, 2.5]}, "sizes must be whole"),
        ({"costs": []}, "one or more Posynomials"),
        ({"costs": [3]}, "one or more Posynomials"),
        ({"costs": [Posynomial([1], [[1]])]}, "same sites"),
        ({"limits": [1, 2]}, "limits have shape"),
        ({"limits": [np.nan]}, "limits must be positive"),
        ({"limits": [0]}, "limits must be positive"),
        ({"floor": 1.5}, r"\[0, 1\]"),
        ({"floor": -1}, "floor must be whole"),
        ({"floor": [1, 2, 3]}, "floor have shape"),
        ({"floor": 18, "ceiling": 19}, "site 0: floor rounds up"),
        ({"step": 0}, "step must be whole"),
        ({"utility": 0.5}, "p = 1"),
        ({"utility": np.nan}, "p = 1"),
        ({"names": ["a"]}, "names holds 1"),
    ],
)
def test_bad_input_is_one_clear_error(changes, complaint):
    with pytest.raises(ValueError, match=complaint):
        problem(**changes)


def test_an_infeasible_budget_names_the_cheapest_reachable_price():
    with pytest.raises(Infeasible, match="MACs <= 20 cannot be met: the cheapest reachable price is 24"):
        allocate(problem(limits=[20], resources=["MACs"]))


def test_only_the_budgets_that_fail_are_named():
    two = problem(costs=[LINE, LINE], limits=[40, 10], resources=["MACs", "params"])
    with pytest.raises(Infeasible, match="params <= 10") as caught:
        allocate(two)
    assert "MACs" not in str(caught.value)


def test_a_solver_may_be_a_function_and_is_checked():
    from infoprune.allocation.problem import Solution

    def greedy(given: Problem) -> Solution:
        return Solution(given.ceiling, np.inf, given.ceiling.astype(float))

    assert allocate(problem(limits=[80]), greedy).solver == "greedy"
    with pytest.raises(ValueError, match="returned counts off the grid or over budget"):
        allocate(problem(limits=[24.5]), lambda given: greedy(problem()))
    with pytest.raises(UnknownName, match="geometric"):
        allocate(problem(), "geometrik")


@pytest.mark.parametrize(("solver", "utility"), [("linear", -1.0), ("geometric", 1.0), ("geometric-cvxpy", 1.0)])
def test_a_solver_refuses_a_utility_that_it_cannot_solve(solver, utility):
    with pytest.raises(ValueError, match="needs p"):
        allocate(problem(utility=utility), solver)


def test_a_limit_that_the_floors_meet_exactly_is_feasible():
    assert allocate(problem(limits=[24])).counts.tolist() == [8, 8]


def test_a_limit_that_everything_meets_keeps_everything():
    answer = allocate(problem(limits=[80]))
    assert answer.counts.tolist() == [20, 30]
    assert answer.gap == pytest.approx(0, abs=1e-9)


def test_weights_of_zero_still_use_the_budget():
    assert allocate(problem(weights=[0, 0], step=1, limits=[50])).costs[0] == 50


def test_the_table_says_what_is_kept_what_it_costs_and_whether_weights_mattered():
    text = str(allocate(problem(step=1, names=["conv1", "conv2"], resources=["MACs"])))
    assert "conv1" in text
    assert "MACs: 40 of 40" in text
    assert "gap" in text
    assert "keep ratios differ" in text


def test_the_guards_say_when_weights_decide_nothing():
    answer = allocate(problem(step=1), "projection")
    assert answer.guards.from_permuted == 0
    assert "permuting the weights does not change the answer" in str(answer)
