"""A budget prices counts and says how much may be spent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from infoprune.allocation import Posynomial
from infoprune.graph import Graph
from infoprune.registry import Registry

budgets = Registry("budget")


@dataclass(frozen=True)
class Budget:
    """At most the share `keep` of what the dense model costs in `unit`, or at most `at_most` of it.

    `refine`: the price is a prediction of latency, so plan again with what the built model measures until it is met.
    """

    unit: str
    cost: Callable[[Graph], Posynomial]
    keep: float | None = None
    at_most: float | None = None
    refine: bool = False

    def __post_init__(self) -> None:
        if (self.keep is None) == (self.at_most is None):
            raise ValueError(f"{self.unit} takes either keep= or at_most=; give exactly one of them")
        if self.keep is not None and not 0 < self.keep <= 1:
            raise ValueError(f"{self.unit} keep is {self.keep}; it is the fraction that remains, above 0 and at most 1")
        if self.at_most is not None and not 0 < self.at_most < float("inf"):
            raise ValueError(f"{self.unit} at_most is {self.at_most}; give a positive finite amount")

    def limit(self, dense: float) -> float:
        return float(self.at_most if self.keep is None else int(self.keep * dense))
