"""Newton's method on the p <= 0 program in x = log k: a primal-dual interior point of a few dense steps.

    minimise -U_p(exp x)   with   F_b(x) <= 0,  low <= x <= high

One step costs a few bincounts over the monomials and one Cholesky of size sites, so a network solves in milliseconds and
nothing is compiled. Every step lowers the objective with a logarithmic barrier at each edge, and the barrier fades as the
duals close in. Nothing here needs to be trusted: the bound is recomputed from the multipliers by `lagrangian_bound`,
which holds wherever the iteration stopped.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from infoprune.allocation.lagrangian import lagrangian_bound
from infoprune.allocation.monomials import Monomials
from infoprune.allocation.problem import Problem

STEPS = 100
TOLERANCE = 1e-9  # of the sum of weights and the utility lost, between the bound and the point
SPARE = 1e-9  # of each limit, lent to the iteration so that a problem whose floors just fit has an inside
TO_EDGE = 0.99
CENTRING = 0.1
LONG = 0.5  # a step this full has followed the barrier closely enough to let it fade
SHORT = 0.1  # one this short is caught at an edge that a stronger barrier bends it away from
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
    """Where the iteration stands: x of the free sites, multipliers of the budgets, duals of the box, and the barrier."""

    x: np.ndarray
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
    spare: float

    def slope(self, x: np.ndarray) -> np.ndarray:
        """dU/dx."""
        return self.weights * np.exp(self.utility * (x - self.log_sizes))

    def slack(self, x: np.ndarray) -> np.ndarray:
        """What each budget leaves, in the logarithm of its price; negative where it is exceeded."""
        return self.spare - self.monomials.log_prices(x)[0]

    def penalised(self, x: np.ndarray, barrier: float) -> float:
        """-U(x) - barrier * sum of log distances to every edge; infinite outside."""
        room = np.concatenate([self.slack(x), x - self.low, self.high - x])
        if not (room > 0).all():
            return np.inf
        logs, p = x - self.log_sizes, self.utility
        worth = self.weights @ (logs if p == 0 else np.expm1(p * logs) / p)
        return float(-worth - barrier * np.log(room).sum())


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
        SPARE,
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
    """x moved towards the floors until F(x) <= 0, which convexity makes a straight line's crossing at the latest."""
    excess, at_floor = monomials.log_prices(x)[0], monomials.log_prices(low)[0]
    over = excess > 0
    if not over.any():
        return x
    share = np.max(excess[over] / np.maximum(excess[over] - at_floor[over], 1e-300))
    return x + min(1.0, share) * (low - x)


def _start(program: Program) -> State:
    """The middle of the box, pulled towards the floors until every budget has slack."""
    share = 0.5
    while not (program.slack(program.low + share * (program.high - program.low)) > 0).all():
        share /= 2
    x = program.low + share * (program.high - program.low)
    barrier = float(program.slope(x).sum()) / x.size
    return State(
        x, barrier / program.slack(x), barrier / (x - program.low), barrier / (program.high - x), barrier
    )


def _step(program: Program, state: State) -> State:
    """One Newton step on the optimality conditions of the penalised problem, shortened until it descends."""
    to_low, to_high, slack = state.x - program.low, program.high - state.x, program.slack(state.x)
    barrier = state.barrier
    jacobian, hessian = _system(program, state, slack)
    uphill = -program.slope(state.x) + barrier * ((1 / slack) @ jacobian - 1 / to_low + 1 / to_high)
    step = -cho_solve(_cholesky(hessian), uphill, check_finite=False)
    multiplier = (barrier + state.multiplier * (jacobian @ step)) / slack - state.multiplier
    below = (barrier - state.below * step) / to_low - state.below
    above = (barrier + state.above * step) / to_high - state.above
    primal = _descent(program, state.x, step, float(uphill @ step), barrier)
    dual = _longest([(state.multiplier, multiplier), (state.below, below), (state.above, above)])
    moved = State(
        state.x + primal * step,
        state.multiplier + dual * multiplier,
        state.below + dual * below,
        state.above + dual * above,
        barrier,
    )
    if primal < SHORT:
        return replace(moved, barrier=barrier / CENTRING)
    return replace(moved, barrier=min(barrier, CENTRING * _gap(program, moved))) if primal > LONG else moved


def _gap(program: Program, state: State) -> float:
    """The mean product of an edge's distance and its dual; the barrier, once the state is centred."""
    box = [(state.x - program.low) * state.below, (program.high - state.x) * state.above]
    return float(np.concatenate([program.slack(state.x) * state.multiplier, *box]).mean())


def _system(program: Program, state: State, slack: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The prices' Jacobian, and the Hessian of the Lagrangian with budgets and box eliminated."""
    _, shares = program.monomials.log_prices(state.x)
    jacobian = program.monomials.jacobian(shares)
    hessian = program.monomials.curvature(state.multiplier[program.monomials.budget] * shares)
    hessian += jacobian.T @ ((state.multiplier / slack - state.multiplier)[:, None] * jacobian)
    diagonal = -program.utility * program.slope(state.x)
    diagonal += state.below / (state.x - program.low) + state.above / (program.high - state.x)
    hessian[np.diag_indices_from(hessian)] += diagonal
    return jacobian, hessian


def _descent(program: Program, x: np.ndarray, step: np.ndarray, slope: float, barrier: float) -> float:
    """The share of the step that stays inside and lowers the penalised objective enough (Armijo)."""
    share = _longest([(x - program.low, step), (program.high - x, -step)])
    now, slack = program.penalised(x, barrier), (1 - TO_EDGE) * program.slack(x)
    for _ in range(HALVINGS):
        moved = x + share * step
        if (program.slack(moved) > slack).all() and program.penalised(moved, barrier) <= now + 1e-4 * share * slope + NOISE * abs(now):
            break
        share /= 2
    return share


def _longest(pairs: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """The longest step, at most 1, that goes no further than `TO_EDGE` of the way to where something turns negative."""
    room, step = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    shrinking = step < 0
    return min(1.0, TO_EDGE * float(np.min(room[shrinking] / -step[shrinking], initial=np.inf)))


def _cholesky(hessian: np.ndarray) -> tuple:
    """Factors, after lifting the diagonal as far as rounding errors ask for."""
    lift, size = 0.0, np.abs(np.diag(hessian)).max()
    while True:
        try:
            lifted = hessian + lift * np.eye(len(hessian))
            return cho_factor(lifted, check_finite=False)
        except np.linalg.LinAlgError:
            lift = max(10 * lift, 1e-14 * size)
