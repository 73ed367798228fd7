"""Newton's method on the p <= 0 program in x = log k: a primal-dual interior point of a few dense steps.

    minimise -U_p(exp x)   with   F_b(x) + s_b = 0,  s >= 0,  low <= x <= high

One step costs a few bincounts over the monomials and one Cholesky of size sites, so a network solves in milliseconds and
nothing is compiled. The steps are Mehrotra's: predict, choose the centring, correct. Nothing here needs to be trusted:
the bound is recomputed from the multipliers by `lagrangian_bound`, which holds wherever the iteration stopped.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from infoprune.allocation.lagrangian import lagrangian_bound
from infoprune.allocation.monomials import Monomials
from infoprune.allocation.problem import Problem

STEPS = 100
TOLERANCE = 1e-9  # of the sum of weights, between the bound and the point
BACK_FROM_EDGE = 0.99


@dataclass(frozen=True, eq=False)
class Optimum:
    """A feasible x = log k, and the multipliers and value of the lowest bound met on the way to it."""

    x: np.ndarray
    multipliers: np.ndarray
    bound: float


@dataclass(frozen=True, eq=False)
class State:
    """Where the iteration stands: x of the free sites, slack and multiplier of each budget, duals of the box."""

    x: np.ndarray
    slack: np.ndarray
    multiplier: np.ndarray
    below: np.ndarray
    above: np.ndarray

    def moved(self, primal: float, dual: float, step: State) -> State:
        return State(
            self.x + primal * step.x,
            self.slack + primal * step.slack,
            self.multiplier + dual * step.multiplier,
            self.below + dual * step.below,
            self.above + dual * step.above,
        )


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
        return self.weights * np.exp(self.utility * (x - self.log_sizes))


def maximise(problem: Problem, monomials: Monomials) -> Optimum:
    """The continuous optimum over the box of floors and ceilings, for a feasible problem with p <= 0."""
    low, high = np.log(problem.floor), np.log(problem.ceiling)
    total = problem.weights.sum()
    if not monomials.budgets or total == 0:
        x = low if monomials.budgets else high
        return Optimum(x, np.zeros(monomials.budgets), float(problem.weights @ problem.site_utility(problem.ceiling)))
    free = high > low
    program = Program(
        problem.weights[free] / total,
        np.log(problem.sizes[free]),
        problem.utility,
        low[free],
        high[free],
        monomials.folded(low, free),
    )
    best = Optimum(low, np.zeros(monomials.budgets), np.inf)
    state = _start(program)
    for _ in range(STEPS):
        x = low.copy()
        x[free] = np.clip(state.x, program.low, program.high)
        best = _better(best, problem, monomials, x, state.multiplier * total)
        if best.bound - problem.value(np.exp(best.x)) <= TOLERANCE * total:
            break
        state = _step(program, state)
    return best


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
    """The middle of the box, pulled towards the floors until every budget has slack, if one can have any."""
    x = program.low + 0.5 * (program.high - program.low)
    for _ in range(20):
        prices, _ = program.monomials.log_prices(x)
        if (prices < 0).all():
            break
        x = program.low + 0.5 * (x - program.low)
    slack = np.maximum(-prices, 1e-3)
    centring = 0.1 / x.size
    return State(x, slack, centring / slack, centring / (x - program.low), centring / (program.high - x))


def _step(program: Program, state: State) -> State:
    """One predictor-corrector step."""
    newton = _Newton.at(program, state)
    nothing = State(*(np.zeros_like(part) for part in vars(state).values()))
    guess = newton.direction(0.0, nothing)
    now, then = newton.gap(state), newton.gap(state.moved(*_lengths(program, state, guess, 1.0), guess))
    centring = now * min(1.0, max(then / now, 0.0)) ** 3
    step = newton.direction(centring, guess)
    return state.moved(*_lengths(program, state, step, BACK_FROM_EDGE), step)


@dataclass(frozen=True, eq=False)
class _Newton:
    """The factorised optimality system at one state; `direction` solves it for a centring and a correction."""

    program: Program
    state: State
    jacobian: np.ndarray
    stationarity: np.ndarray
    feasibility: np.ndarray
    factor: tuple

    @classmethod
    def at(cls, program: Program, state: State) -> _Newton:
        prices, shares = program.monomials.log_prices(state.x)
        jacobian = program.monomials.jacobian(shares)
        slope = program.slope(state.x)
        stationarity = state.multiplier @ jacobian - slope - state.below + state.above
        hessian = program.monomials.curvature(state.multiplier[program.monomials.budget] * shares)
        hessian += jacobian.T @ ((state.multiplier / state.slack - state.multiplier)[:, None] * jacobian)
        diagonal = -program.utility * slope + state.below / (state.x - program.low)
        hessian[np.diag_indices_from(hessian)] += diagonal + state.above / (program.high - state.x)
        return cls(program, state, jacobian, stationarity, prices + state.slack, _cholesky(hessian))

    def direction(self, centring: float, guess: State) -> State:
        """Towards complementarity products equal to `centring`, corrected by the products of the guessed step."""
        state, to_low, to_high = self.state, self.state.x - self.program.low, self.program.high - self.state.x
        below = (centring - guess.x * guess.below) / to_low - state.below
        above = (centring + guess.x * guess.above) / to_high - state.above
        budget = (centring - guess.slack * guess.multiplier) / state.slack - state.multiplier
        budget += state.multiplier / state.slack * self.feasibility
        x = cho_solve(self.factor, -self.stationarity - budget @ self.jacobian + below - above, check_finite=False)
        along = self.jacobian @ x
        return State(
            x,
            -self.feasibility - along,
            budget + state.multiplier / state.slack * along,
            below - state.below / to_low * x,
            above + state.above / to_high * x,
        )

    def gap(self, state: State) -> float:
        """The mean complementarity product."""
        products = state.slack @ state.multiplier + state.below @ (state.x - self.program.low)
        products += state.above @ (self.program.high - state.x)
        return float(products / (state.slack.size + 2 * state.x.size))


def _lengths(program: Program, state: State, step: State, share: float) -> tuple[float, float]:
    """The longest primal and dual steps that keep `share` of the way to the nearest edge."""
    room = [(state.x - program.low, step.x), (program.high - state.x, -step.x), (state.slack, step.slack)]
    duals = [(state.multiplier, step.multiplier), (state.below, step.below), (state.above, step.above)]
    return _longest(room, share), _longest(duals, share)


def _longest(pairs: list[tuple[np.ndarray, np.ndarray]], share: float) -> float:
    room, step = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    shrinking = step < 0
    return min(1.0, share * float(np.min(room[shrinking] / -step[shrinking], initial=np.inf)))


def _cholesky(hessian: np.ndarray) -> tuple:
    """Factors, after lifting the diagonal as far as rounding errors ask for."""
    lift, size = 0.0, np.abs(np.diag(hessian)).max()
    while True:
        try:
            lifted = hessian + lift * np.eye(len(hessian))
            return cho_factor(lifted, check_finite=False)
        except np.linalg.LinAlgError:
            lift = max(10 * lift, 1e-14 * size)
