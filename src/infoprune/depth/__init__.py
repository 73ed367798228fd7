"""Whole blocks: which of them can leave, which of them should, and what that costs and saves."""

from infoprune.depth.energies import UnitEnergies as UnitEnergies
from infoprune.depth.energies import unit_energies as unit_energies
from infoprune.depth.plans import plan_depth as plan_depth
from infoprune.depth.plans import stages as stages
from infoprune.depth.strategies import Energy as Energy
from infoprune.depth.strategies import Strategy as Strategy
from infoprune.depth.units import removals as removals
from infoprune.depth.units import skip_units as skip_units
from infoprune.depth.widths import Depth as Depth
from infoprune.depth.widths import DepthAndWidth as DepthAndWidth
from infoprune.depth.widths import DepthPath as DepthPath
from infoprune.depth.widths import plan_depth_and_width as plan_depth_and_width
