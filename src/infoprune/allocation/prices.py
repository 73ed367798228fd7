"""What moves cost: every site's, or every pair of sites', in one pass over the monomials."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from infoprune.allocation.problem import Problem

FITS = 1e-9  # of the limit; what an estimated price may exceed before the exact one is asked


def reachable(problem: Problem) -> Problem:
    """The same problem with every ceiling lowered to what is affordable while all other sites are at their
    floors.

    No feasible choice is lost, since prices grow with every count.
    """
    prices, low = Prices.of(problem), np.zeros(problem.sizes.size, dtype=np.int64)
    high = -(-(problem.ceiling - problem.floor) // problem.step)
    while (low < high).any():
        middle = (low + high + 1) // 2
        change = prices.changes(problem.floor, problem.raised(problem.floor, middle))
        fits = (change <= prices.slack(problem.floor)[:, None]).all(axis=0)
        low, high = np.where(fits, middle, low), np.where(fits, high, middle - 1)
    return replace(problem, ceiling=problem.raised(problem.floor, low))


@dataclass(frozen=True, eq=False)
class Prices:
    """The monomials of all budgets by entry (one site in one term) and by pair (two sites in one term)."""

    limits: np.ndarray
    coefficients: np.ndarray
    factors: np.ndarray
    budget: np.ndarray
    entries: tuple[np.ndarray, np.ndarray, np.ndarray]  # term, site, power
    pairs: tuple[np.ndarray, np.ndarray]  # positions in `entries` of two sites of one term, both ways round
    sites: int

    @classmethod
    def of(cls, problem: Problem) -> Prices:
        parts, sites = [cost.simplified() for cost in problem.costs], problem.sizes.size
        degree = max(part.factors.shape[1] for part in parts)
        factors = [
            np.pad(part.factors, ((0, 0), (0, degree - part.factors.shape[1])), constant_values=sites) for part in parts
        ]
        lengths = [part.coefficients.size for part in parts]
        rows = [
            np.repeat(np.arange(length), np.diff(part.exponents.indptr))
            for length, part in zip(lengths, parts, strict=True)
        ]
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
        """What moving site i to `first` and j to `second` adds beyond both alone; (budgets, sites, sites)."""
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
