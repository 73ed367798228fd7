"""What a unit is worth. Every class here is a `tp.importance.Importance`."""

from infoprune.deprecated import renamed
from infoprune.importance.base import About as About
from infoprune.importance.base import GroupImportance as GroupImportance
from infoprune.importance.base import Importance as Importance
from infoprune.importance.base import filters as filters
from infoprune.importance.base import importances as importances
from infoprune.importance.capacity_independence import CapacityImportance as CapacityImportance
from infoprune.importance.capacity_independence import (
    CapacityIndependenceImportance as CapacityIndependenceImportance,
)
from infoprune.importance.capacity_independence import IndependenceImportance as IndependenceImportance
from infoprune.importance.conditional import ConditionalImportance as ConditionalImportance
from infoprune.importance.controls import MostImportantFirstImportance as MostImportantFirstImportance
from infoprune.importance.controls import SeededRandomImportance as SeededRandomImportance
from infoprune.importance.energy import EnergyImportance as EnergyImportance
from infoprune.importance.host_importances import of_host as of_host
from infoprune.importance.host_importances import rankings as rankings
from infoprune.importance.hsic import HSICImportance as HSICImportance
from infoprune.importance.mutual_information import MutualInformationImportance as MutualInformationImportance
from infoprune.importance.saturation import Saturation as Saturation
from infoprune.importance.saturation import saturation as saturation

__getattr__ = renamed(__name__, {"register": "importances.register"})
