"""From scores, prices and budgets to a plan."""

from infoprune.graph.site_scores import ScoreGroup as ScoreGroup
from infoprune.graph.site_scores import score_sites as score_sites
from infoprune.planning.deciding import decided as decided
from infoprune.planning.deciding import plan as plan
from infoprune.planning.deciding import planned as planned
from infoprune.planning.nested import nested as nested
from infoprune.planning.scored import LayerImportance as LayerImportance
from infoprune.planning.scored import Planned as Planned
from infoprune.planning.scored import Scored as Scored
from infoprune.planning.scored import Terms as Terms
from infoprune.planning.scored import site_weights as site_weights
from infoprune.planning.scored import spent as spent
