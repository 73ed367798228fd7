"""The solvers by name, for recipes and the command line; Python users pass the functions."""

from infoprune.registry import Registry

solvers = Registry("solver")
