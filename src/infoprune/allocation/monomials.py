"""All budgets of a problem as one block of monomials in x = log k, where every price is convex."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from infoprune.allocation.problem import Problem


@dataclass(frozen=True, eq=False)
class Monomials:
    """F_b(x) = log(price_b(exp x) / limit_b) = log sum_t exp(log_coefficient_t + sum_g e_tg x_g), all b at
    once.

    Terms lie budget after budget, `starts` says where each begins. A row of `factors` lists the sites of a
    term, once per power, padded with `sites`.
    """

    log_coefficients: np.ndarray
    factors: np.ndarray
    budget: np.ndarray
    starts: np.ndarray
    sites: int

    @classmethod
    def of(cls, problem: Problem) -> Monomials:
        """The budgets that can bind: those that the ceilings exceed."""
        costs, sites = problem.costs, problem.sizes.size
        binding = np.flatnonzero(problem.price(problem.ceiling) > problem.limits)
        parts = [costs[b].simplified() for b in binding.tolist()]
        logs = [np.log(part.coefficients) - np.log(problem.limits[b]) for b, part in zip(binding, parts, strict=True)]
        lengths = np.array([log.size for log in logs], dtype=np.int64)
        degree = max((part.factors.shape[1] for part in parts), default=0)
        return cls(
            np.concatenate(logs or [np.zeros(0)]),
            np.concatenate([_padded(part.factors, degree, sites) for part in parts] or [np.zeros((0, 0), np.int64)]),
            np.repeat(np.arange(len(parts)), lengths),
            np.cumsum(lengths) - lengths,
            sites,
        )

    @property
    def budgets(self) -> int:
        return self.starts.size

    def folded(self, x: np.ndarray, free: np.ndarray) -> Monomials:
        """The same prices over the free sites alone, the others held at x."""
        held = np.where(free, 0.0, x)
        renamed = np.append(np.where(free, np.cumsum(free) - 1, free.sum()), free.sum())
        logs = self.log_coefficients + np.append(held, 0.0)[self.factors].sum(axis=1)
        return Monomials(logs, renamed[self.factors], self.budget, self.starts, int(free.sum()))

    def log_prices(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """F(x), and each term's share of its budget's price."""
        if not self.budgets:
            return np.zeros(0), np.zeros(0)
        logs = self.log_coefficients + np.append(x, 0.0)[self.factors].sum(axis=1)
        top = np.maximum.reduceat(logs, self.starts)
        exps = np.exp(logs - top[self.budget])
        total = np.add.reduceat(exps, self.starts)
        return top + np.log(total), exps / total[self.budget]

    def jacobian(self, shares: np.ndarray) -> np.ndarray:
        """dF_b/dx_g: the share of budget b's price that scales with site g; shape (budgets, sites)."""
        cells, width = self.budgets * (self.sites + 1), self.sites + 1
        rows = self.budget * width
        slots = self.factors.T
        total = sum((np.bincount(rows + slot, shares, cells) for slot in slots), np.zeros(cells))
        return total.reshape(self.budgets, width)[:, :-1]

    def curvature(self, weights: np.ndarray) -> np.ndarray:
        """sum_t weight_t e_t e_t': the second derivative of weighted prices in x; shape (sites, sites)."""
        width = self.sites + 1
        total = np.zeros(width * width)
        for slot in self.factors.T:
            for other in self.factors.T:
                total += np.bincount(slot * width + other, weights, width * width)
        return total.reshape(width, width)[:-1, :-1]


def _padded(factors: np.ndarray, degree: int, sites: int) -> np.ndarray:
    return np.pad(factors, ((0, 0), (0, degree - factors.shape[1])), constant_values=sites)
