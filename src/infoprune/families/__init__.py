"""Networks with skip connections: which parts can leave whole, found in one forward pass."""

from infoprune.families.base import families as families
from infoprune.families.dataflow import record as record
from infoprune.families.dense import dense_units as dense_units
from infoprune.families.residual import residual_units as residual_units
from infoprune.families.units import SkipUnit as SkipUnit
from infoprune.families.units import StandIn as StandIn
from infoprune.families.units import Step as Step
