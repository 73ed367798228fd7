"""The only package that follows models: sites, what they take along, exact prices, trial removals."""

from infoprune.graph.member import Member as Member
from infoprune.graph.slots import Site as Site
from infoprune.graph.trace import Graph as Graph
