"""A model as a file for a runtime, compared with the model before it is kept."""

from infoprune.export.exporting import Exported as Exported
from infoprune.export.exporting import export as export
