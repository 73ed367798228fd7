"""How many units each site keeps: pure numbers, certified."""

from infoprune.allocation import baselines, cvxpy_reference, slsqp  # noqa: F401  importing registers the solvers
from infoprune.allocation.posynomial import Posynomial
from infoprune.allocation.problem import Problem, utility_of
from infoprune.allocation.registered import solvers
from infoprune.allocation.result import Allocation, allocate

__all__ = ["Allocation", "Posynomial", "Problem", "allocate", "baselines", "solvers", "utility_of"]
