"""Split inference: half of a network on a device, half elsewhere, and only what a task needs in between."""

from infoprune.split.model import SplitModel as SplitModel
from infoprune.split.physical import plan_without as plan_without
from infoprune.split.rate import RateChoice as RateChoice
from infoprune.split.rate import select_for_rate as select_for_rate
