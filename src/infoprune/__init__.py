"""Information-theoretic pruning and compression whose numbers hold."""

from infoprune import budgets as budgets
from infoprune import errors as errors
from infoprune import importance as importance
from infoprune import layerwise as layerwise
from infoprune.artifact import load as load
from infoprune.artifact import save as save
from infoprune.depth import plan_depth as plan_depth
from infoprune.depth import skip_units as skip_units
from infoprune.depth import stages as stages
from infoprune.depth import unit_energies as unit_energies
from infoprune.errors import InfopruneError as InfopruneError
from infoprune.graph import Graph as Graph
from infoprune.importance.host import register as register
from infoprune.measure import Measurement as Measurement
from infoprune.measure import measure as measure
from infoprune.observe import Observations as Observations
from infoprune.observe import observe as observe
from infoprune.planning import plan as plan
from infoprune.surgery import Certificate as Certificate
from infoprune.surgery import Plan as Plan
from infoprune.surgery import certificate_of as certificate_of
from infoprune.surgery import prune_ as prune_
from infoprune.surgery import rebuild_optimizer as rebuild_optimizer
from infoprune.timing import LatencyComparison as LatencyComparison
from infoprune.timing import compare_latency as compare_latency
