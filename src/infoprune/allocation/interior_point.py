"""Newton's method on the p <= 0 program in x = log k: a primal-dual interior point of a few dense steps.

    minimise -U_p(exp x)   with   F_b(x) + s_b = 0,  s >= 0,  low <= x <= high

One step costs a few bincounts over the monomials and one Cholesky of size sites, so a network solves in
milliseconds and nothing is compiled. Every step lowers a merit: the objective, a logarithmic barrier at each
edge, and a penalty on F + s; the barrier fades as the duals close in. Nothing here needs to be trusted: the
bound is recomputed from the multipliers by `lagrangian_bound`, which holds wherever the iteration stopped.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from infoprune.allocation.lagrangian import lagrangian_bound
from infoprune.allocation.monomials import Monomials
from infoprune.allocation.problem import Problem

STEPS = 100
TOLERANCE = 1e-8  # of the sum of weights and the utility lost, between the bound and the point
SPARE = 1e-9  # of each limit, lent to the iteration so that a problem whose floors just fit has an inside
TO_EDGE = 0.99
CENTRING = 0.1
LONG = 0.5  # a step this full has followed the barrier closely enough to let it fade
HALVINGS = 40
NOISE = 1e-14  # relative rounding error of the penalised objective


@dataclass(frozen=True, eq=False)
class Optimum:
    """A feasible x = log k, and the multipliers and value of the lowest bound met on the way to it."""

    x: np.ndarray
    multipliers: np.ndarray
    bound: float


@dataclass(frozen=True, eq=False)
class State:
    """Where the iteration stands: x of the free sites, slacks and multipliers, duals of the box."""

    x: np.ndarray
    slack: np.ndarray
    multiplier: np.ndarray
    below: np.ndarray
    above: np.ndarray
    barrier: float


@dataclass(frozen=True, eq=False)
class Program:
    """The problem on its free sites, with the weights scaled to sum to one."""

    weights: np.ndarray
    log_sizes: np.ndarray
    utility: float
    low: np.ndarray
    high: np.ndarray
    monomials: Monomials

    def slope(self, x: np.ndarray) -> np.ndarray:
        """dU/dx."""
        return self.weights * np.exp(self.utility * (x - self.log_sizes))

    def excess(self, x: np.ndarray) -> np.ndarray:
        """F(x): the logarithm of each price over its limit."""
        return self.monomials.log_prices(x)[0] - SPARE

    def merit(self, x: np.ndarray, slack: np.ndarray, barrier: float, penalty: float) -> float:
        """-U(x) - barrier * sum of log distances to every edge + penalty * |F + s|; infinite outside."""
        room = np.concatenate([slack, x - self.low, self.high - x])
        if not (room > 0).all():
            return np.inf
        logs, p = x - self.log_sizes, self.utility
        worth = self.weights @ (logs if p == 0 else np.expm1(p * logs) / p)
        return float(-worth - barrier * np.log(room).sum() + penalty * np.abs(self.excess(x) + slack).sum())


def maximise(problem: Problem, monomials: Monomials) -> Optimum:
    """The continuous optimum over the box of floors and ceilings, for a feasible problem with p <= 0."""
    low, total = np.log(problem.floor), problem.weights.sum()
    if not monomials.budgets or total == 0:
        x = low if monomials.budgets else np.log(problem.ceiling)
        return Optimum(x, np.zeros(monomials.budgets), problem.value(problem.ceiling))
    best = Optimum(low, np.zeros(monomials.budgets), np.inf)
    program = _free_program(problem, monomials)
    free, state = problem.floor < problem.ceiling, _start(program)
    for _ in range(STEPS):
        x = low.copy()
        x[free] = state.x
        best = _better(best, problem, monomials, x, state.multiplier * total)
        reached = problem.value(np.exp(best.x))
        if best.bound - reached <= TOLERANCE * (total - reached):
            break
        state = _step(program, state)
    return best


def _free_program(problem: Problem, monomials: Monomials) -> Program:
    low, high = np.log(problem.floor), np.log(problem.ceiling)
    free = low < high
    return Program(
        problem.weights[free] / problem.weights.sum(),
        np.log(problem.sizes[free]),
        problem.utility,
        low[free],
        high[free],
        monomials.folded(low, free),
    )


def _better(best: Optimum, problem: Problem, monomials: Monomials, x: np.ndarray, multipliers: np.ndarray) -> Optimum:
    bound = lagrangian_bound(problem, monomials, x, multipliers)
    if bound < best.bound:
        best = replace(best, bound=bound, multipliers=multipliers)
    feasible = _pulled_inside(monomials, x, np.log(problem.floor))
    if problem.value(np.exp(feasible)) > problem.value(np.exp(best.x)):
        best = replace(best, x=feasible)
    return best


def _pulled_inside(monomials: Monomials, x: np.ndarray, low: np.ndarray) -> np.ndarray:
    """x moved towards the floors until F(x) <= 0; by convexity no further than a straight line's crossing."""
    excess, at_floor = monomials.log_prices(x)[0], monomials.log_prices(low)[0]
    over = excess > 0
    if not over.any():
        return x
    share = np.max(excess[over] / np.maximum(excess[over] - at_floor[over], 1e-300))
    return x + min(1.0, share) * (low - x)


def _start(program: Program) -> State:
    """The middle of the box, pulled towards the floors until every budget has slack."""
    share = 0.5
    while not (program.excess(program.low + share * (program.high - program.low)) < 0).all():
        share /= 2
    x = program.low + share * (program.high - program.low)
    slack, barrier = -program.excess(x), float(program.slope(x).sum()) / x.size
    return State(x, slack, barrier / slack, barrier / (x - program.low), barrier / (program.high - x), barrier)


def _step(program: Program, state: State) -> State:
    """One Newton step on the optimality conditions at the present barrier, shortened until it descends."""
    barrier, to_low, to_high = state.barrier, state.x - program.low, program.high - state.x
    missing = program.excess(state.x) + state.slack
    jacobian, hessian = _system(program, state)
    stiffness = state.multiplier / state.slack
    uphill = -program.slope(state.x) - barrier / to_low + barrier / to_high
    x = _solved(hessian, -uphill - (barrier / state.slack + stiffness * missing) @ jacobian)
    along = jacobian @ x
    slack = -missing - along
    multiplier = barrier / state.slack - state.multiplier + stiffness * (missing + along)
    below = (barrier - state.below * x) / to_low - state.below
    above = (barrier + state.above * x) / to_high - state.above
    penalty = 2 * float(np.max(np.abs(state.multiplier + multiplier)))
    slope = float(uphill @ x - barrier / state.slack @ slack - penalty * np.abs(missing).sum())
    primal = _descent(program, state, (x, slack), slope, penalty)
    dual = _longest([(state.multiplier, multiplier), (state.below, below), (state.above, above)])
    moved = State(
        state.x + primal * x,
        state.slack + primal * slack,
        state.multiplier + dual * multiplier,
        state.below + dual * below,
        state.above + dual * above,
        barrier,
    )
    return replace(moved, barrier=_faded(program, moved, primal))


def _faded(program: Program, state: State, primal: float) -> float:
    """The barrier after a step of this length: lower once the iteration follows it."""
    if primal <= LONG:
        return state.barrier
    box = [(state.x - program.low) * state.below, (program.high - state.x) * state.above]
    products = np.concatenate([state.slack * state.multiplier, *box])
    return min(state.barrier, CENTRING * float(products.mean()))


def _system(program: Program, state: State) -> tuple[np.ndarray, np.ndarray]:
    """The prices' Jacobian, and the Hessian of the Lagrangian with slacks and box eliminated."""
    _, shares = program.monomials.log_prices(state.x)
    jacobian = program.monomials.jacobian(shares)
    hessian = program.monomials.curvature(state.multiplier[program.monomials.budget] * shares)
    hessian += jacobian.T @ ((state.multiplier / state.slack - state.multiplier)[:, None] * jacobian)
    diagonal = -program.utility * program.slope(state.x)
    diagonal += state.below / (state.x - program.low) + state.above / (program.high - state.x)
    hessian[np.diag_indices_from(hessian)] += diagonal
    return jacobian, hessian


def _descent(
    program: Program, state: State, step: tuple[np.ndarray, np.ndarray], slope: float, penalty: float
) -> float:
    """The share of the step in x and slack that stays inside and lowers the merit enough (Armijo)."""
    x, slack = step
    share = _longest([(state.x - program.low, x), (program.high - state.x, -x), (state.slack, slack)])
    now = program.merit(state.x, state.slack, state.barrier, penalty)
    for _ in range(HALVINGS):
        then = program.merit(state.x + share * x, state.slack + share * slack, state.barrier, penalty)
        if then <= now + 1e-4 * share * slope + NOISE * abs(now):
            break
        share /= 2
    return share


def _longest(pairs: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """The longest step, at most 1, that goes `TO_EDGE` of the way to where something turns negative."""
    room, step = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    shrinking = step < 0
    return min(1.0, TO_EDGE * float(np.min(room[shrinking] / -step[shrinking], initial=np.inf)))


def _solved(hessian: np.ndarray, right: np.ndarray) -> np.ndarray:
    """By Cholesky, after lifting the diagonal as far as rounding errors ask for."""
    lift, size = 0.0, np.abs(np.diag(hessian)).max()
    while True:
        try:
            lifted = hessian + lift * np.eye(len(hessian))
            return cho_solve(cho_factor(lifted, check_finite=False), right, check_finite=False)
        except np.linalg.LinAlgError:
            lift = max(10 * lift, 1e-14 * size)
