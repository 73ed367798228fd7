"""How much each site matters: {site: weight}."""

from infoprune.layerwise.base import LayerImportance as LayerImportance
from infoprune.layerwise.curves import curves as curves
from infoprune.layerwise.information import bottleneck as bottleneck
from infoprune.layerwise.information import nhsic as nhsic
from infoprune.layerwise.information import nhsic_printed as nhsic_printed
from infoprune.layerwise.information import nhsic_relevance as nhsic_relevance
from infoprune.layerwise.losses import losses as losses
from infoprune.layerwise.uniform import layerwise as layerwise
from infoprune.layerwise.uniform import uniform as uniform
