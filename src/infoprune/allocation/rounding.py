"""Whole counts from a fractional point: floor, fill, exchange. Budgets are never exceeded.

Every choice looks at all sites at once: one pass over the monomials says what each move adds to each price. Those sums
carry rounding errors, so a move is taken only after the exact price of its outcome was found to fit.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from infoprune.allocation.problem import Problem

NUDGE = 1e-6  # a solver's 15.999999 units are 16
IMPROVES = 1e-12  # of the sum of weights; smaller gains are rounding errors
FITS = 1e-9  # of the limit; what the estimated price may exceed before the exact one is asked
EXCHANGES = ((1, 1), (1, 2), (2, 1), (2, 2), (1, 3), (3, 1))  # steps up at one site, down at another


def rounded(problem: Problem, point: np.ndarray) -> np.ndarray:
    """Allowed counts near `point` that no step up and no exchange between two sites improves."""
    prices = _Prices.of(problem)
    better = _floored(problem, prices, point)
    while better is not None:
        counts = _filled(problem, prices, better)
        better = _exchanged(problem, prices, counts)
    return _spent(problem, counts, np.flatnonzero(problem.weights == 0))


def followed(problem: Problem, point: np.ndarray) -> np.ndarray:
    """Allowed counts as close to `point` as the budgets let them: floored, then raised where most is missing."""
    prices = _Prices.of(problem)
    raised = _floored(problem, prices, point)
    while raised is not None:
        counts, target = raised, problem.raised(raised)
        raised = _first_that_fits(problem, _single(counts, target, (point - counts) / problem.sizes, prices))
    return counts


def _floored(problem: Problem, prices: _Prices, point: np.ndarray) -> np.ndarray:
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


def _filled(problem: Problem, prices: _Prices, counts: np.ndarray) -> np.ndarray:
    """Steps up while one fits: the most utility for the share of the remaining budget it takes."""
    raised: np.ndarray | None = counts
    while raised is not None:
        counts, target = raised, problem.raised(raised)
        gain = problem.weights * (problem.site_utility(target) - problem.site_utility(counts))
        share = (prices.changes(counts, target) / prices.slack(counts)[:, None]).max(axis=0)
        worth = np.where(gain > 0, gain / np.maximum(share, 1e-30), -np.inf)
        raised = _first_that_fits(problem, _single(counts, target, worth, prices))
    return counts


def _single(counts: np.ndarray, target: np.ndarray, worth: np.ndarray, prices: _Prices) -> Iterable[np.ndarray]:
    """Counts with one site moved to its target, the worthiest first, where the estimate fits."""
    fits = (target > counts) & (prices.changes(counts, target) <= prices.slack(counts)[:, None]).all(axis=0)
    for site in np.argsort(-worth, kind="stable"):
        if fits[site] and worth[site] > -np.inf:
            moved = counts.copy()
            moved[site] = target[site]
            yield moved


def _exchanged(problem: Problem, prices: _Prices, counts: np.ndarray) -> np.ndarray | None:
    """The best exchange of steps between two sites that gains utility and fits, or None."""
    for up, down in EXCHANGES:
        better = _first_that_fits(problem, _pairs(problem, prices, counts, up, down))
        if better is not None:
            return better
    return None


def _pairs(problem: Problem, prices: _Prices, counts: np.ndarray, up: int, down: int) -> Iterable[np.ndarray]:
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


@dataclass(frozen=True, eq=False)
class _Prices:
    """The monomials of all budgets by entry (one site in one term) and by pair (two sites in one term)."""

    limits: np.ndarray
    coefficients: np.ndarray
    factors: np.ndarray
    budget: np.ndarray
    entries: tuple[np.ndarray, np.ndarray, np.ndarray]  # term, site, power
    pairs: tuple[np.ndarray, np.ndarray]  # positions in `entries` of two sites of one term, both ways round
    sites: int

    @classmethod
    def of(cls, problem: Problem) -> _Prices:
        parts, sites = [cost.simplified() for cost in problem.costs], problem.sizes.size
        degree = max(part.factors.shape[1] for part in parts)
        factors = [
            np.pad(part.factors, ((0, 0), (0, degree - part.factors.shape[1])), constant_values=sites) for part in parts
        ]
        lengths = [part.coefficients.size for part in parts]
        rows = [np.repeat(np.arange(length), np.diff(part.exponents.indptr)) for length, part in zip(lengths, parts, strict=True)]
        offsets = np.cumsum([0, *lengths[:-1]])
        term = np.concatenate([row + offset for row, offset in zip(rows, offsets, strict=True)])
        return cls(
            problem.limits,
            np.concatenate([part.coefficients for part in parts]),
            np.concatenate(factors),
            np.repeat(np.arange(len(parts)), lengths),
            (
                term,
                np.concatenate([part.exponents.indices for part in parts]).astype(np.int64),
                np.concatenate([part.exponents.data for part in parts]).astype(np.float64),
            ),
            _pairs_of_entries(term),
            sites,
        )

    def values(self, counts: np.ndarray) -> np.ndarray:
        """What each monomial costs."""
        return self.coefficients * np.append(counts.astype(np.float64), 1.0)[self.factors].prod(axis=1)

    def totals(self, counts: np.ndarray) -> np.ndarray:
        return np.bincount(self.budget, self.values(counts), self.limits.size)

    def slack(self, counts: np.ndarray) -> np.ndarray:
        """What is left of each limit, a rounding error more than there is."""
        return self.limits * (1 + FITS) - self.totals(counts)

    def changes(self, counts: np.ndarray, target: np.ndarray) -> np.ndarray:
        """What moving one site alone to its target adds to each price; shape (budgets, sites)."""
        term, site, _ = self.entries
        added = self.values(counts)[term] * self._growth(counts, target)
        cells = self.budget[term] * self.sites + site
        return np.bincount(cells, added, self.limits.size * self.sites).reshape(-1, self.sites)

    def crossed(self, counts: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """What moving site i to `first` and j to `second` adds beyond both alone; shape (budgets, sites, sites)."""
        term, site, _ = self.entries
        one, two = self.pairs
        added = self.values(counts)[term[one]] * self._growth(counts, first)[one] * self._growth(counts, second)[two]
        cells = (self.budget[term[one]] * self.sites + site[one]) * self.sites + site[two]
        total = np.bincount(cells, added, self.limits.size * self.sites**2)
        return total.reshape(-1, self.sites, self.sites)

    def _growth(self, counts: np.ndarray, target: np.ndarray) -> np.ndarray:
        """How much larger each entry's factor gets, relative to what it is: (target/count)^power - 1."""
        _, site, power = self.entries
        return (target[site] / counts[site]) ** power - 1


def _pairs_of_entries(term: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All ordered pairs of different positions that share a term; `term` is sorted."""
    starts = np.searchsorted(term, term, side="left")
    lengths = np.searchsorted(term, term, side="right") - starts
    one = np.repeat(np.arange(term.size), lengths)
    two = np.arange(one.size) - np.repeat(np.cumsum(lengths) - lengths, lengths) + np.repeat(starts, lengths)
    return one[one != two], two[one != two]
