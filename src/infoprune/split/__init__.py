"""Split inference: half of a network on a device, half elsewhere, and only what a task needs in between."""

from infoprune.split.model import SplitModel as SplitModel
