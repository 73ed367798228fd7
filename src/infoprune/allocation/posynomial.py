"""Prices that grow with every count: sums of monomials with non-negative coefficients."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
from scipy import sparse

EXACT_BELOW = 2.0**53  # every integer below this is a float64, so sums and products of integers are exact
CHUNK = 2_000_000  # factors gathered at once when many count vectors are priced


@dataclass(frozen=True, eq=False)
class Posynomial:
    """counts -> sum_t c_t prod_g counts_g^e_tg, with c_t >= 0 and e_tg in {0, 1, 2, ...}.

    A row of zeros in `exponents` (terms x sites, dense or sparse) is the constant term. With integer
    coefficients and counts the price is the exact integer, rounded once if it exceeds 2^53.

    >>> conv = Posynomial([9.0, 1.0], [[1, 1], [0, 1]])     # 9 k0 k1 + k1: a 3x3 convolution with bias
    >>> conv([16, 32])
    4640.0
    """

    coefficients: Any
    exponents: Any

    def __post_init__(self) -> None:
        coefficients = np.array(self.coefficients, dtype=np.float64)
        exponents: Any = _exponents(self.exponents)
        if coefficients.ndim != 1 or coefficients.size != exponents.shape[0]:
            raise ValueError(
                f"coefficients of shape {coefficients.shape} do not match exponents of shape "
                f"{exponents.shape}; "
                "give one coefficient per row of exponents"
            )
        if not (np.isfinite(coefficients).all() and (coefficients >= 0).all()):
            raise ValueError(
                f"coefficients must be finite and non-negative; found {_first_bad(coefficients)}, "
                "so the price would not be a posynomial"
            )
        coefficients.setflags(write=False)
        object.__setattr__(self, "coefficients", coefficients)
        object.__setattr__(self, "exponents", exponents)

    @classmethod
    def quadratic(cls, q: Any, b: Any, c: float = 0.0) -> Posynomial:
        """counts' q counts + b' counts + c, with q, b and c non-negative; q may be sparse.

        >>> Posynomial.quadratic([[0, 9], [0, 0]], [0, 1], 5)([16, 32])
        4645.0
        """
        q, b = sparse.coo_array(q), np.asarray(b, dtype=np.float64)
        if b.ndim != 1 or q.shape != (b.size, b.size):
            raise ValueError(
                f"q of shape {q.shape} does not match b of shape {b.shape}; q needs shape (n, n) for b of shape (n,)"
            )
        rows = np.arange(q.nnz)
        ones = sparse.coo_array((np.ones(2 * q.nnz), (np.tile(rows, 2), np.concatenate(q.coords))), (q.nnz, b.size))
        linear = sparse.eye_array(b.size)
        exponents = sparse.vstack([ones, linear, sparse.csr_array((1, b.size))])
        return cls(np.concatenate([q.data, b, [c]]), exponents).simplified()

    @property
    def sites(self) -> int:
        """How many counts the price takes."""
        return self.exponents.shape[1]

    def __call__(self, counts: Any) -> float:
        """The price of one vector of counts."""
        return float(self.prices(np.asarray(counts)[None])[0])

    def prices(self, counts: Any) -> np.ndarray:
        """The prices of many vectors of counts at once, shape (n, sites) -> (n,)."""
        counts = np.asarray(counts)
        if counts.ndim != 2 or counts.shape[1] != self.sites:
            raise ValueError(f"counts of shape {counts.shape} do not fit; the last axis needs {self.sites} sites")
        rows = max(1, CHUNK // max(1, self.factors.size))
        chunks = [counts[i : i + rows] for i in range(0, len(counts), rows)]
        prices = np.concatenate([self._chunk_prices(chunk) for chunk in chunks] or [np.zeros(0)])
        for i in np.flatnonzero(prices >= EXACT_BELOW) if self._is_exact(counts) else ():
            prices[i] = self._integer_price(counts[i])
        return prices

    def gradient(self, counts: Any) -> np.ndarray:
        """d price / d counts_g, at any counts >= 0."""
        padded = np.append(np.asarray(counts, dtype=np.float64), 1.0)[self.factors]
        slots = range(self.factors.shape[1])
        others = [self.coefficients * np.delete(padded, slot, axis=1).prod(axis=1) for slot in slots]
        total = sum(
            (np.bincount(self.factors[:, s], others[s], self.sites + 1) for s in slots), np.zeros(self.sites + 1)
        )
        return total[:-1]

    def simplified(self) -> Posynomial:
        """The same price with equal monomials merged and vanishing ones dropped."""
        kept = self.coefficients > 0
        powers, where = np.unique(self.factors[kept], axis=0, return_inverse=True)
        if not kept.any():
            return Posynomial(np.zeros(0), sparse.csr_array((0, self.sites)))
        merged = np.bincount(where.ravel(), self.coefficients[kept], len(powers))
        return Posynomial(merged, _from_factors(powers, self.sites))

    def __add__(self, other: Posynomial) -> Posynomial:
        if not isinstance(other, Posynomial):
            return NotImplemented
        if self.sites != other.sites:
            raise ValueError(
                f"a price of {self.sites} sites and one of {other.sites} do not add; both need the same sites"
            )
        coefficients = np.concatenate([self.coefficients, other.coefficients])
        return Posynomial(coefficients, sparse.vstack([self.exponents, other.exponents])).simplified()

    def __radd__(self, other: Any) -> Posynomial:
        return self if isinstance(other, int) and other == 0 else NotImplemented  # sum() starts from 0

    def __mul__(self, scale: float) -> Posynomial:
        if not np.isscalar(scale):
            return NotImplemented
        return Posynomial(self.coefficients * scale, self.exponents)

    __rmul__ = __mul__

    def __repr__(self) -> str:
        return f"Posynomial({len(self.coefficients)} monomials of {self.sites} sites)"

    @cached_property
    def factors(self) -> np.ndarray:
        """Each monomial as a row of site indices, repeated per power, padded with `sites`."""
        lengths = self.exponents.sum(axis=1).astype(np.int64)
        filled = np.arange(lengths.max(initial=0)) < lengths[:, None]
        factors = np.full(filled.shape, self.sites)
        factors[filled] = np.repeat(self.exponents.indices, self.exponents.data)
        return factors

    @cached_property
    def _has_integer_coefficients(self) -> bool:
        return bool((self.coefficients == np.floor(self.coefficients)).all())

    def _is_exact(self, counts: np.ndarray) -> bool:
        return self._has_integer_coefficients and bool((counts == np.floor(counts)).all())

    def _chunk_prices(self, counts: np.ndarray) -> np.ndarray:
        padded = np.concatenate([counts.astype(np.float64), np.ones((len(counts), 1))], axis=1)
        return padded[:, self.factors].prod(axis=2) @ self.coefficients

    def _integer_price(self, counts: np.ndarray) -> float:
        padded = [int(count) for count in counts] + [1]
        rows = zip(self.coefficients, self.factors, strict=True)
        return float(sum(int(c) * prod(padded[g] for g in row) for c, row in rows))


def _exponents(exponents: Any) -> sparse.csr_array:
    if not sparse.issparse(exponents):
        exponents = np.asarray(exponents, dtype=np.float64)
        if exponents.ndim != 2:
            raise ValueError(f"exponents of shape {exponents.shape} are no (terms, sites) matrix; give two axes")
    csr = sparse.csr_array(exponents)
    csr.sum_duplicates()
    csr.eliminate_zeros()
    if not (np.isfinite(csr.data).all() and (csr.data >= 0).all() and (csr.data == np.floor(csr.data)).all()):
        raise ValueError("exponents must be non-negative integers; give how often each site multiplies into a term")
    return sparse.csr_array((csr.data.astype(np.int64), csr.indices, csr.indptr), csr.shape)


def _from_factors(factors: np.ndarray, sites: int) -> sparse.csr_array:
    rows, slots = np.nonzero(factors < sites)
    return sparse.coo_array((np.ones(rows.size), (rows, factors[rows, slots])), (len(factors), sites)).tocsr()


def _first_bad(values: np.ndarray) -> float:
    return values[~(np.isfinite(values) & (values >= 0))][0]
