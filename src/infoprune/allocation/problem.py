"""What is to be decided: how many units each site keeps, and what that may cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from infoprune.allocation.posynomial import Posynomial
from infoprune.deprecated import renamed_argument
from infoprune.errors import Infeasible

ROUNDING = 1e-9  # 0.1 * 30 is 3 units, not 4
LEAST_UTILITY = -64  # a^p of one channel in 16,384 is 5e269; doubles end at 1.8e308


def utility_of(kept: Any, p: float) -> Any:
    """(a^p - 1)/p of shares a, log a for p = 0: 0 where everything stays, negative below."""
    return np.log(kept) if p == 0 else (kept**p - 1) / p


@renamed_argument("units", "resources")
@dataclass(frozen=True, eq=False, kw_only=True)
class Problem:
    """Maximise U_p(a) = sum_g I_g (a_g^p - 1)/p over counts k = a K, while every price_b(k) <= limit_b.

    A site may keep any multiple of its `step` from `floor` up to `ceiling`, and all of its units if the ceiling allows:
    a site of 20 units with step 8 and floor 1 keeps 8, 16 or 20.

    Args:
        weights: I_g >= 0, what each of the G sites is worth.
        sizes: K_g, the units that it holds.
        costs: The price of each budget as a function of the counts.
        limits: What each price may be.
        floor: The fewest units: an integer counts units, a float is a fraction of the site; both are at least one unit
            and are rounded up to the step.
        step: Counts are multiples of it.
        utility: p: from -64 to 0, where p = 0 means sum_g I_g log a_g, or p = 1.
        ceiling: The most units; all by default.
        names: Of the sites, for messages.
        resources: Of the budgets, for messages.

    >>> macs = Posynomial.quadratic([[0, 9], [0, 0]], [27, 10])
    >>> problem = Problem(weights=[1, 2], sizes=[16, 32], costs=[macs], limits=[2000], floor=0.1, step=4)
    >>> problem.floor, problem.price([4, 4])
    (array([4, 4]), array([292.]))
    """

    weights: Any
    sizes: Any
    costs: Sequence[Posynomial]
    limits: Any
    floor: Any = 1
    step: Any = 1
    utility: float = -1.0
    ceiling: Any = None
    names: Sequence[str] | None = None
    resources: Sequence[str] | None = None

    def __post_init__(self) -> None:
        sizes = _counts("sizes", self.sizes, np.size(self.sizes))
        sites = sizes.size
        if sites == 0 or np.ndim(self.sizes) != 1:
            raise ValueError(f"sizes of shape {np.shape(self.sizes)} hold no sites; give one size per site")
        step = _counts("step", self.step, sites)
        highest = sizes if self.ceiling is None else _highest(_ceiling(self.ceiling, sizes), sizes, step)
        lowest = _lowest(_floor(self.floor, sizes), sizes, step)
        names = _names("names", self.names, "site", sites)
        _require(lowest <= highest, names, "floor rounds up to the step above its ceiling; lower the floor")
        _set(self, weights=_weights(self.weights, sites), sizes=sizes, step=step, floor=lowest, ceiling=highest)
        _set(self, costs=_costs(self.costs, sites), utility=_utility(self.utility), names=names)
        _set(self, limits=_limits(self.limits, len(self.costs)))
        _set(self, resources=_names("resources", self.resources, "budget", len(self.costs)))

    def price(self, counts: Any) -> np.ndarray:
        """What these counts cost, one number per budget."""
        return np.array([cost(counts) for cost in self.costs])

    def value(self, counts: Any) -> float:
        """U_p of these counts, in the units of `weights`."""
        return float(self.weights @ self.site_utility(np.asarray(counts)))

    def site_utility(self, counts: np.ndarray) -> np.ndarray:
        """(a^p - 1)/p of every site: 0 when it keeps everything, negative below."""
        return utility_of(counts / self.sizes, self.utility)

    def allows(self, counts: Any) -> bool:
        """Whether every count lies on its site's grid and no budget is exceeded."""
        counts = np.asarray(counts)
        on_step = (counts % self.step == 0) | (counts == self.sizes)
        inside = (self.floor <= counts) & (counts <= self.ceiling)
        return bool((on_step & inside).all() and (self.price(counts) <= self.limits).all())

    def require_feasible(self) -> None:
        """Raise `Infeasible` unless the floors are affordable.

        Prices grow with every count, so the floors are the cheapest allowed choice under all budgets at once.
        """
        cheapest = self.price(self.floor)
        if (cheapest <= self.limits).all():
            return
        reasons = [
            f"{resource} <= {limit:.15g} cannot be met: the cheapest reachable price is {price:.15g}"
            for resource, limit, price in zip(self.resources or (), self.limits, cheapest, strict=True)
            if price > limit
        ]
        raise Infeasible("; ".join(reasons) + "; raise the limit or lower the floors")

    def allowed(self, site: int) -> np.ndarray:
        """The counts that site `site` may keep, ascending."""
        low, high, step = self.floor[site], self.ceiling[site], self.step[site]
        return np.union1d(np.arange(low, high + 1, step), [high])

    def at_or_below(self, counts: Any) -> np.ndarray:
        """The largest allowed count not above each given one (the floor if there is none)."""
        stepped = np.floor(np.asarray(counts) / self.step).astype(np.int64) * self.step
        return np.where(np.asarray(counts) >= self.ceiling, self.ceiling, np.maximum(stepped, self.floor))

    def raised(self, counts: np.ndarray, steps: int | np.ndarray = 1) -> np.ndarray:
        """Allowed counts `steps` up the grid, ending at the ceiling."""
        return np.clip((counts // self.step + steps) * self.step, counts, self.ceiling)

    def lowered(self, counts: np.ndarray, steps: int = 1) -> np.ndarray:
        """Allowed counts `steps` down the grid, ending at the floor."""
        return np.clip((-(-counts // self.step) - steps) * self.step, self.floor, counts)


@dataclass(frozen=True, eq=False)
class Solution:
    """What a solver hands back: allowed counts, and a bound that no feasible integer point exceeds.

    `continuous` is the point it rounded, in units; it may be fractional.
    """

    counts: np.ndarray
    bound: float
    continuous: np.ndarray


Solver = Callable[[Problem], Solution]


def _set(problem: Problem, **fields: Any) -> None:
    for name, value in fields.items():
        if isinstance(value, np.ndarray):
            value = value.copy()
            value.setflags(write=False)
        object.__setattr__(problem, name, value)


def _numbers(name: str, values: Any, length: int) -> np.ndarray:
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1 or numbers.size != length:
        raise ValueError(f"{name} have shape {numbers.shape}; give {length} numbers, one each")
    return numbers


def _weights(values: Any, sites: int) -> np.ndarray:
    weights = _numbers("weights", values, sites)
    bad = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if bad.size:
        raise ValueError(f"weights must be finite and non-negative; weights[{bad[0]}] is {weights[bad[0]]}")
    return weights


def _counts(name: str, values: Any, sites: int) -> np.ndarray:
    counts = np.asarray(values)
    if counts.ndim > 1 or counts.size not in (1, sites):
        raise ValueError(f"{name} have shape {counts.shape}; give one whole number, or one per site ({sites})")
    counts = np.broadcast_to(counts.ravel(), (sites,)).astype(np.float64)
    bad = np.flatnonzero(~((counts >= 1) & (counts == np.floor(counts)) & np.isfinite(counts)))
    if bad.size:
        raise ValueError(f"{name} must be whole numbers of at least 1; site {bad[0]} has {counts[bad[0]]}")
    return counts.astype(np.int64)


def _floor(values: Any, sizes: np.ndarray) -> np.ndarray:
    floor = np.asarray(values)
    if np.issubdtype(floor.dtype, np.floating):
        counted = np.ceil(_fractions("floor", floor, sizes.size) * sizes - ROUNDING).astype(np.int64)
    else:
        counted = _counts("floor", np.where(floor == 0, 1, floor), sizes.size)
    return np.clip(counted, 1, sizes)


def _ceiling(values: Any, sizes: np.ndarray) -> np.ndarray:
    ceiling = np.asarray(values)
    if np.issubdtype(ceiling.dtype, np.floating):
        counted = np.floor(_fractions("ceiling", ceiling, sizes.size) * sizes + ROUNDING).astype(np.int64)
    else:
        counted = _counts("ceiling", ceiling, sizes.size)
    return np.clip(counted, 1, sizes)


def _fractions(name: str, values: np.ndarray, sites: int) -> np.ndarray:
    if values.ndim > 1 or values.size not in (1, sites):
        raise ValueError(f"{name} has shape {values.shape}; give one fraction, or one per site ({sites})")
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f"{name} as a fraction must lie in [0, 1], found {values}; pass integers to count units")
    return np.broadcast_to(values.ravel(), (sites,)).astype(np.float64)


def _lowest(floor: np.ndarray, sizes: np.ndarray, step: np.ndarray) -> np.ndarray:
    return np.minimum(-(-floor // step) * step, sizes)


def _highest(ceiling: np.ndarray, sizes: np.ndarray, step: np.ndarray) -> np.ndarray:
    return np.where(ceiling >= sizes, sizes, ceiling // step * step)


def _costs(values: Any, sites: int) -> tuple[Posynomial, ...]:
    costs = tuple(values)
    if not costs or not all(isinstance(cost, Posynomial) for cost in costs):
        raise ValueError(f"costs must be one or more Posynomials, found {values!r}; give one per budget")
    wrong = [cost.sites for cost in costs if cost.sites != sites]
    if wrong:
        raise ValueError(f"a cost takes {wrong[0]} counts but there are {sites} sizes; both need the same sites")
    return costs


def _limits(values: Any, budgets: int) -> np.ndarray:
    limits = _numbers("limits", values, budgets)
    bad = np.flatnonzero(~(np.isfinite(limits) & (limits > 0)))
    if bad.size:
        raise ValueError(f"limits must be positive and finite; limits[{bad[0]}] is {limits[bad[0]]}")
    return limits


def _utility(value: Any) -> float:
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not (number and np.isfinite(value) and (LEAST_UTILITY <= value <= 0 or value == 1)):
        raise ValueError(
            f"utility is {value!r}; give p = 1 (linear) or p from {LEAST_UTILITY} to 0 (0 is the logarithm, and below "
            f"-10 widths hardly grow more even)"
        )
    return float(value)


def _names(field: str, values: Sequence[str] | None, kind: str, length: int) -> tuple[str, ...]:
    names = tuple(values) if values is not None else tuple(f"{kind} {i}" for i in range(length))
    if len(names) != length:
        raise ValueError(f"{field} holds {len(names)} entries for {length} {kind}s; give one each")
    return names


def _require(holds: np.ndarray, names: tuple[str, ...], complaint: str) -> None:
    if not holds.all():
        raise ValueError(f"{names[int(np.argmin(holds))]}: {complaint}")
