"""Networks with skip connections: which parts can leave whole, found in one forward pass."""

from infoprune.deprecated import renamed
from infoprune.families.base import families as families
from infoprune.families.dataflow import dataflow_of as dataflow_of
from infoprune.families.dense import dense_units as dense_units
from infoprune.families.residual import residual_units as residual_units
from infoprune.families.units import SkipUnit as SkipUnit
from infoprune.families.units import StandIn as StandIn
from infoprune.families.units import Step as Step

__getattr__ = renamed(__name__, {"record": "dataflow_of"})
