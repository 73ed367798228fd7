"""Randomness as a pure function of (seed, epoch, index), so that nothing about it needs to be remembered."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

GOLDEN, FIRST, SECOND = (np.uint64(n) for n in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def mixed(*numbers: int) -> int:
    """One seed from several, in [0, 2^63): any change of any of them gives an unrelated one."""
    state = np.zeros(1, np.uint64)
    for number in numbers:
        state = _scrambled(state + np.uint64(number % 2**64))
    return int(state[0] >> np.uint64(1))


def uniform_draws(seed: int, epoch: int, indices: Sequence[int] | np.ndarray, count: int) -> np.ndarray:
    """`count` numbers in [0, 1) for each index, n x count: the finaliser of splitmix64 as a counter-based generator.

    >>> (uniform_draws(0, 3, [7, 8], 2)[1] == uniform_draws(0, 3, [8], 2)[0]).all()
    np.True_
    """
    with np.errstate(over="ignore"):
        rows = _scrambled(np.uint64(mixed(seed, epoch)) + np.asarray(indices, np.uint64) * GOLDEN)
        numbers = _scrambled(rows[:, None] + np.arange(1, count + 1, dtype=np.uint64) * GOLDEN)
    return (numbers >> np.uint64(11)).astype(np.float64) * 2.0**-53


def generators(seed: int, epoch: int, indices: Sequence[int]) -> list[torch.Generator]:
    """One generator for each index."""
    return [torch.Generator().manual_seed(mixed(seed, epoch, int(i))) for i in indices]


def shuffled(n: int, seed: int, epoch: int) -> Tensor:
    """The order of n examples in an epoch."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(mixed(seed, epoch)))


@contextmanager
def drawing(seed: int) -> Iterator[None]:
    """Whatever draws without a generator of its own draws from `seed` here; torch, numpy and random then go on."""
    before = torch.get_rng_state(), np.random.get_state(), random.getstate()
    try:
        torch.manual_seed(seed % 2**63)
        np.random.seed(seed % 2**32)
        random.seed(seed)
        yield
    finally:
        torch.set_rng_state(before[0])
        np.random.set_state(before[1])
        random.setstate(before[2])


def _scrambled(state: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        state = state + GOLDEN
        state = (state ^ (state >> np.uint64(30))) * FIRST
        state = (state ^ (state >> np.uint64(27))) * SECOND
        return state ^ (state >> np.uint64(31))
