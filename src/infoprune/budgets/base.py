"""What a budget is: what things cost, how much may be spent, and how the model that is built is held to it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, NoReturn, Protocol, TypeVar, final

from torch import nn

from infoprune.allocation import Posynomial
from infoprune.deprecated import Renamed, renamed_keyword, warn
from infoprune.errors import Infeasible
from infoprune.graph import Graph
from infoprune.registry import Registry
from infoprune.require import require_number
from infoprune.timing import Verdict

budgets = Registry("budget")

Limit = float | str  # as it stands behind a budget's name in a recipe or on the command line
Some = TypeVar("Some", bound="Budget")


class Amounts(NamedTuple):
    """How amounts of something are written: `read` gives them as the budget counts, or ValueError; `words` says how."""

    words: str
    read: Callable[[Limit], float]


def numbers(least: float = 1.0) -> Amounts:
    """Bare numbers; those between 1 and `least` are taken for mistaken shares."""

    def read(limit: Limit) -> float:
        number = float(limit)
        if not max(1.0, least) <= number < math.inf:
            raise ValueError(f"{number} is no amount")
        return number

    return Amounts(f"an amount of at least {least:g}" if least > 1 else "an amount above 1", read)


class Comparison(Protocol):
    """How a built model stands against a budget; `str` says what was found."""

    @property
    def verdict(self) -> Verdict: ...

    @property
    def excess(self) -> float:
        """How many times its limit the model costs, at worst."""
        ...


@dataclass(frozen=True, kw_only=True)
class Budget(ABC):
    """At most the share `keep` of what the dense model costs, or at most `at_most` of `resource`.

    With `refine` a plan is made again with a smaller limit until what it builds is found to meet this one, which pays
    where prices are predictions.

    A budget is one class in one file with a line `@budgets.register(name)`; whoever derives it from `Counted` says what
    choices cost and what a network costs. It can then be named in recipes and on the command line.
    """

    resource: ClassVar[str]  # what is spent, and in what it is counted: macs, latency_us
    amounts: ClassVar[Amounts] = numbers()
    whole: ClassVar[bool] = False  # prices are whole numbers

    keep: float | None = None
    at_most: float | None = None
    refine: bool = False

    unit = Renamed("resource")

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        named = vars(cls).get("unit")
        if isinstance(named, str):
            warn(f"{cls.__name__}.unit", "resource")
            cls.resource = named
            del cls.unit

    def __new__(cls: type[Some], *unnamed: Any, **_: Any) -> Some:
        """Amounts have names: a bare 0.5 could be either."""
        return object.__new__(cls) if not unnamed else refuse_unnamed(cls.resource, *unnamed)

    def __post_init__(self) -> None:
        for name in ("keep", "at_most"):
            if getattr(self, name) is not None:
                require_number(getattr(self, name), f"{self.resource} {name}")
        if (self.keep is None) == (self.at_most is None):
            raise ValueError(f"{self.resource} takes either keep= or at_most=; give exactly one of them")
        if self.keep is not None and not 0 < self.keep <= 1:
            raise ValueError(
                f"{self.resource} keep is {self.keep}; it is the fraction that remains, above 0 and at most 1"
            )
        if self.at_most is not None and not 0 < self.at_most < math.inf:
            raise ValueError(f"{self.resource} at_most is {self.at_most}; give a positive finite amount")

    @abstractmethod
    def cost(self, graph: Graph) -> Posynomial:
        """The price of every choice of counts."""

    @abstractmethod
    def compare(self, dense: nn.Module, pruned: nn.Module, inputs: Any) -> Comparison:
        """Hold a built model to the budget; what was promised as a share is a share of `dense`."""

    @final
    def limit(self, dense: float) -> float:
        """What may be spent where the dense model costs `dense`."""
        if self.keep is None:
            return float(self.at_most or 0)
        if self.whole and self.keep * dense < 1 <= dense:
            raise Infeasible(f"{self.resource} keep={self.keep:g} of {dense:,.0f} is less than 1; keep a larger share")
        return float(int(self.keep * dense)) if self.whole else self.keep * dense

    @classmethod
    @renamed_keyword("told", "limit")
    def parse(cls: type[Some], limit: Limit) -> Some:
        """Numbers above 0 and at most 1 are the share that remains; what else is read is an amount."""
        share = _number(limit)
        if 0 < share <= 1:
            return cls(keep=share)
        try:
            return cls(at_most=cls.amounts.read(limit))
        except ValueError as error:
            need = f"a share that remains, above 0 and at most 1, or {cls.amounts.words}"
            raise ValueError(f"{limit!r:.80}; give {need}") from error

    def __str__(self) -> str:
        return f"{self.resource} at_most={self.at_most}" if self.keep is None else f"{self.resource} keep={self.keep}"


def refuse_unnamed(resource: str, *unnamed: Any) -> NoReturn:
    """TypeError for an amount that does not say whether it is the share that remains or the most there may be."""
    raise TypeError(
        f"{resource} was given {unnamed[0]!r:.60} without saying what it is; write keep=0.5 (the share that remains) "
        "or at_most= (an amount)"
    )


def _number(limit: Any) -> float:
    try:
        return float(limit)
    except ValueError:
        return math.nan


@dataclass(frozen=True)
class Counts:
    """What was counted, and what was allowed."""

    resource: str
    count: float
    limit: float

    @property
    def verdict(self) -> Verdict:
        return "met" if self.count <= self.limit else "not met"

    @property
    def excess(self) -> float:
        return self.count / self.limit

    def __str__(self) -> str:
        return f"{self.count:,.0f} {self.resource} of {self.limit:,.0f} allowed"


@dataclass(frozen=True, kw_only=True)
class Counted(Budget):
    """A budget whose price is exact: what `cost` says of a choice is what is counted on the network that it makes."""

    @abstractmethod
    def measure(self, model: nn.Module, inputs: Any) -> float:
        """What a network costs for these inputs."""

    @final
    def compare(self, dense: nn.Module, pruned: nn.Module, inputs: Any) -> Counts:
        """Counting is sure, so that it is met or not."""
        return Counts(self.resource, self.measure(pruned, inputs), self.limit(self.measure(dense, inputs)))
