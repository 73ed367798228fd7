"""Backward elimination and streaming comoments beside numpy and exhaustive search."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from infoprune.estimators.covariance import Comoments
from infoprune.estimators.elimination import RIDGE, Reader, eliminate


def problem(c, r, seed, samples=40):
    generator = torch.Generator().manual_seed(seed)
    x = (
        torch.randn(samples, c, generator=generator, dtype=torch.float64)
        @ torch.randn(c, c, generator=generator).double()
    )
    return torch.randn(r, c, generator=generator, dtype=torch.float64), torch.from_numpy(np.cov(x.numpy().T, bias=True))


def lost(weight, covariance, gone):
    """Variance of W x that the kept columns can't tell, by least squares; nothing here is ours."""
    c = covariance.numpy() + RIDGE * covariance.diagonal().mean().item() * np.eye(len(covariance))
    kept = [j for j in range(len(c)) if j not in gone]
    inner = c[np.ix_(gone, kept)] @ np.linalg.solve(c[np.ix_(kept, kept)], c[np.ix_(kept, gone)]) if kept else 0
    w = weight.numpy()[:, gone]
    return np.trace(w @ (c[np.ix_(gone, gone)] - inner) @ w.T)


def size(weight, covariance):
    return float(((weight @ covariance) * weight).sum())


@given(st.integers(2, 7), st.integers(1, 9), st.integers(0, 99))
def test_every_step_is_the_cheapest_by_least_squares(c, r, seed):
    weight, covariance = problem(c, r, seed)
    order, costs = eliminate([Reader.of(weight, covariance, torch.arange(c)[:, None])])
    gone, spent = [], 0.0
    for unit, cost in zip(order.tolist(), costs.tolist(), strict=True):
        prices = {j: lost(weight, covariance, [*gone, j]) for j in range(c) if j not in gone}
        assert prices[unit] <= min(prices.values()) * (1 + 1e-6) + 1e-9 * size(weight, covariance)
        gone.append(unit)
        spent += cost
        assert spent == pytest.approx(prices[unit] / size(weight, covariance), rel=1e-6, abs=1e-9)


def test_units_of_several_columns_leave_as_a_block_and_readers_add_up():
    one, two = problem(6, 4, 0), problem(6, 3, 1)
    blocks = torch.tensor([[0, 1], [2, 3], [4, 5]])
    order, costs = eliminate([Reader.of(*one, blocks), Reader.of(*two, torch.tensor([[5], [1], [3]]))])
    expected = [
        lost(*one, list(pair)) / size(*one) + lost(*two, [single]) / size(*two)
        for pair, single in zip(blocks.tolist(), [5, 1, 3], strict=True)
    ]
    assert int(order[0]) == int(np.argmin(expected))
    assert float(costs[0]) == pytest.approx(min(expected), rel=1e-6)


def test_of_twins_one_leaves_for_nothing_and_the_other_does_not():
    covariance = torch.ones(3, 3).double()
    covariance[2, :2] = covariance[:2, 2] = 0
    order, costs = eliminate([Reader.of(torch.ones(1, 3), covariance, torch.arange(3)[:, None])])
    assert order.tolist() == [0, 2, 1]
    assert costs[0] < 1e-3
    assert costs[1] > 0.1


def test_losses_order_as_units_leave_and_end_at_everything():
    weight, covariance = problem(8, 3, 5)
    found = eliminate([Reader.of(weight, covariance, torch.arange(8)[:, None])])
    losses = found.losses()
    assert losses.argsort(stable=True).tolist() == found.order.tolist()
    whole = lost(weight, covariance, list(range(8))) / size(weight, covariance)
    assert float(losses.max()) == pytest.approx(whole, rel=1e-6)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=4), st.floats(0, 1e4), st.integers(0, 99))
def test_comoments_are_numpy_s_whatever_the_batches_and_however_far_the_mean(batches, shift, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(sum(batches), 3, generator=generator) + shift
    seen = Comoments.empty(3, 2)
    for part in x.split(batches):
        seen.add_(part, part[:, [2, 0]])
    expected = (x.double() - x.double().mean(0)).T @ (x.double() - x.double().mean(0)) / len(x)
    rounding = 1e-6 + 1e-13 * shift**2  # products of single precision; sums of squares in double
    torch.testing.assert_close(seen.covariance(), expected[:, [2, 0]], rtol=1e-5, atol=rounding)
    torch.testing.assert_close(seen.means()[0], x.double().mean(0))


def test_comoments_add_up():
    x = torch.randn(20, 4, dtype=torch.float64)
    parts = [Comoments.empty(4, 4).add_(a, a) for a in (x[:7], x[7:])]
    torch.testing.assert_close((parts[0] + parts[1]).xz, Comoments.empty(4, 4).add_(x, x).xz)


def test_the_order_is_no_worse_than_half_again_the_best_of_all_subsets():
    """Greedy has no bound in general; on these draws it is close, which says that its prices are right."""
    weight, covariance = problem(7, 3, 11)
    order = eliminate([Reader.of(weight, covariance, torch.arange(7)[:, None])]).order.tolist()
    best = min(lost(weight, covariance, list(gone)) for gone in itertools.combinations(range(7), 3))
    assert lost(weight, covariance, order[:3]) <= 1.5 * best
