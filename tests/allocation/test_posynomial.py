"""Prices: exact, additive, vectorised, differentiable, and strict about what they take."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from infoprune.allocation import Posynomial

counts = st.lists(st.integers(1, 4096), min_size=3, max_size=3)
terms = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 2), st.integers(0, 2), st.integers(0, 1)), max_size=5)


def posynomial(terms: list[tuple[int, ...]]) -> Posynomial:
    return Posynomial([term[0] for term in terms], np.array([term[1:] for term in terms]).reshape(-1, 3))


def counted(terms: list[tuple[int, ...]], k: list[int]) -> int:
    return sum(c * k[0] ** a * k[1] ** b * k[2] ** d for c, a, b, d in terms)


@given(terms, counts)
def test_integer_prices_are_exact_whatever_their_size(terms, k):
    assert posynomial(terms)(k) == float(counted(terms, k))


@given(terms, terms, counts, st.integers(0, 50))
def test_prices_add_scale_and_sum(one, other, k, scale):
    p, q = posynomial(one), posynomial(other)
    assert (p + q)(k) == float(counted(one, k) + counted(other, k))
    assert sum([p, q])(k) == (p + q)(k)
    assert (scale * p)(k) == float(scale * counted(one, k))


@given(terms, st.lists(counts, max_size=4))
def test_many_vectors_are_priced_as_one_by_one(terms, rows):
    p = posynomial(terms)
    assert p.prices(np.array(rows).reshape(-1, 3)).tolist() == [p(row) for row in rows]


@given(terms, st.lists(st.floats(0.0, 50.0), min_size=3, max_size=3))
def test_the_gradient_is_the_derivative_even_at_zero(terms, k):
    k = np.array(k)
    expected = [
        sum(
            c * e[g] * k[g] ** max(e[g] - 1, 0) * np.prod([k[h] ** e[h] for h in range(3) if h != g]) for c, *e in terms
        )
        for g in range(3)
    ]
    np.testing.assert_allclose(posynomial(terms).gradient(k), expected, rtol=1e-12, atol=1e-12)


def test_a_quadratic_is_its_matrix_form_sparse_or_dense():
    rng = np.random.default_rng(0)
    q, b, k = rng.integers(0, 9, (4, 4)), rng.integers(0, 9, 4), rng.integers(1, 99, 4)
    expected = k @ q @ k + b @ k + 7
    assert Posynomial.quadratic(q, b, 7)(k) == expected
    assert Posynomial.quadratic(sparse.csr_array(q), b, 7)(k) == expected


def test_equal_monomials_merge_and_vanishing_ones_go():
    merged = Posynomial([1, 2, 0], [[1, 1], [1, 1], [2, 0]]).simplified()
    assert merged.coefficients.tolist() == [3]
    assert merged.exponents.toarray().tolist() == [[1, 1]]


@pytest.mark.parametrize(
    ("coefficients", "exponents", "complaint"),
    [
        ([1, -1], [[1], [2]], "non-negative"),
        ([np.nan], [[1]], "non-negative"),
        ([np.inf], [[1]], "finite"),
        ([1, 2], [[1]], "one coefficient per row"),
        ([1], [[0.5]], "integers"),
        ([1], [[-1]], "integers"),
        ([1], [1], "two axes"),
    ],
)
def test_what_is_no_posynomial_is_refused(coefficients, exponents, complaint):
    with pytest.raises(ValueError, match=complaint):
        Posynomial(coefficients, exponents)


def test_counts_and_sites_must_match():
    p = Posynomial([1], [[1, 1]])
    with pytest.raises(ValueError, match="needs 2 sites"):
        p([1, 2, 3])
    with pytest.raises(ValueError, match="same sites"):
        p + Posynomial([1], [[1]])
    with pytest.raises(ValueError, match="does not match b"):
        Posynomial.quadratic(np.zeros((2, 2)), np.zeros(3))
