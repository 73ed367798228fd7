"""How many units each site keeps: pure numbers, certified."""

from infoprune.allocation import baselines, cvxpy_reference, slsqp  # noqa: F401  importing registers the solvers
from infoprune.allocation.allocating import Allocation, allocate
from infoprune.allocation.posynomial import Posynomial
from infoprune.allocation.problem import Problem, utility_of
from infoprune.allocation.solvers import solvers

__all__ = ["Allocation", "Posynomial", "Problem", "allocate", "baselines", "solvers", "utility_of"]
