"""Whole counts from a fractional point: floor, fill, exchange. Budgets are never exceeded.

Every choice looks at all sites at once: one pass over the monomials says what each move adds to each price.
Those sums carry rounding errors, so a move is taken only after the exact price of its outcome was found to
fit.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from infoprune.allocation.prices import Prices
from infoprune.allocation.problem import Problem

NUDGE = 1e-6  # a solver's 15.999999 units are 16
IMPROVES = 1e-12  # of the sum of weights; smaller gains are rounding errors
EXCHANGES = ((1, 1), (1, 2), (2, 1), (2, 2), (1, 3), (3, 1))  # steps up at one site, down at another


def rounded(problem: Problem, point: np.ndarray) -> np.ndarray:
    """Allowed counts near `point` that no step up and no exchange between two sites improves."""
    prices = Prices.of(problem)
    better = _floored(problem, prices, point)
    while better is not None:
        counts = _filled(problem, prices, better)
        better = _exchanged(problem, prices, counts)
    return _spent(problem, counts, np.flatnonzero(problem.weights == 0))


def followed(problem: Problem, point: np.ndarray) -> np.ndarray:
    """Allowed counts as close to `point` as budgets allow: floored, then raised where most is missing."""
    prices = Prices.of(problem)
    raised = _floored(problem, prices, point)
    while raised is not None:
        counts, target = raised, problem.raised(raised)
        raised = _first_that_fits(problem, _single(counts, target, (point - counts) / problem.sizes, prices))
    return counts


def _floored(problem: Problem, prices: Prices, point: np.ndarray) -> np.ndarray:
    """The allowed counts at or below the point, lowered further where the point itself was over a budget."""
    counts = problem.at_or_below(point * (1 + NUDGE))
    while not problem.allows(counts):
        target = problem.lowered(counts)
        saved = (-prices.changes(counts, target) / problem.limits[:, None])[prices.totals(counts) > problem.limits]
        loss = problem.weights * (problem.site_utility(counts) - problem.site_utility(target))
        worth = np.where(target < counts, saved.max(axis=0) / np.maximum(loss, IMPROVES * problem.weights.sum()), -1)
        lowest = int(np.argmax(worth))
        counts = counts.copy()
        counts[lowest] = target[lowest]
    return counts


def _filled(problem: Problem, prices: Prices, counts: np.ndarray) -> np.ndarray:
    """Steps up while one fits: the most utility for the share of the remaining budget it takes."""
    raised: np.ndarray | None = counts
    while raised is not None:
        counts, target = raised, problem.raised(raised)
        gain = problem.weights * (problem.site_utility(target) - problem.site_utility(counts))
        share = (prices.changes(counts, target) / prices.slack(counts)[:, None]).max(axis=0)
        worth = np.where(gain > 0, gain / np.maximum(share, 1e-30), -np.inf)
        raised = _first_that_fits(problem, _single(counts, target, worth, prices))
    return counts


def _single(counts: np.ndarray, target: np.ndarray, worth: np.ndarray, prices: Prices) -> Iterable[np.ndarray]:
    """Counts with one site moved to its target, the worthiest first, where the estimate fits."""
    fits = (target > counts) & (prices.changes(counts, target) <= prices.slack(counts)[:, None]).all(axis=0)
    for site in np.argsort(-worth, kind="stable"):
        if fits[site] and worth[site] > -np.inf:
            moved = counts.copy()
            moved[site] = target[site]
            yield moved


def _exchanged(problem: Problem, prices: Prices, counts: np.ndarray) -> np.ndarray | None:
    """The best exchange of steps between two sites that gains utility and fits, or None."""
    for up, down in EXCHANGES:
        better = _first_that_fits(problem, _pairs(problem, prices, counts, up, down))
        if better is not None:
            return better
    return None


def _pairs(problem: Problem, prices: Prices, counts: np.ndarray, up: int, down: int) -> Iterable[np.ndarray]:
    """Counts with one site raised and another lowered, the most gain first, where the estimate fits."""
    higher, lower = problem.raised(counts, up), problem.lowered(counts, down)
    now = problem.site_utility(counts)
    gain = problem.weights * (problem.site_utility(higher) - now)
    loss = problem.weights * (now - problem.site_utility(lower))
    net = gain[:, None] - loss[None, :]
    change = prices.changes(counts, higher)[:, :, None] + prices.changes(counts, lower)[:, None, :]
    change += prices.crossed(counts, higher, lower)
    fits = (change <= prices.slack(counts)[:, None, None]).all(axis=0)
    fits &= (higher > counts)[:, None] & (lower < counts)[None, :] & (net > IMPROVES * problem.weights.sum())
    np.fill_diagonal(fits, False)
    raised, dropped = np.nonzero(fits)
    for pair in np.argsort(-net[raised, dropped], kind="stable"):
        moved = counts.copy()
        moved[raised[pair]], moved[dropped[pair]] = higher[raised[pair]], lower[dropped[pair]]
        yield moved


def _first_that_fits(problem: Problem, candidates: Iterable[np.ndarray]) -> np.ndarray | None:
    return next((counts for counts in candidates if (problem.price(counts) <= problem.limits).all()), None)


def _spent(problem: Problem, counts: np.ndarray, sites: np.ndarray) -> np.ndarray:
    """Each of `sites` in turn raised to the largest allowed count that fits, by bisection."""
    for site in sites:
        allowed = problem.allowed(site)
        low, high = int(np.searchsorted(allowed, counts[site])), allowed.size
        while high - low > 1:
            middle = (low + high) // 2
            moved = counts.copy()
            moved[site] = allowed[middle]
            fits = (problem.price(moved) <= problem.limits).all()
            low, high = (middle, high) if fits else (low, middle)
        counts = counts.copy()
        counts[site] = allowed[low]
    return counts
