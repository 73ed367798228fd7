"""How much each site matters: {site: weight}."""

from infoprune.layerwise.uniform import layerwise as layerwise
from infoprune.layerwise.uniform import uniform as uniform
