"""Plans, and carrying them out."""

from infoprune.surgery.blocks import DropBlock as DropBlock
from infoprune.surgery.blocks import compact as compact
from infoprune.surgery.certificate import Certificate as Certificate
from infoprune.surgery.channels import KeepChannels as KeepChannels
from infoprune.surgery.edit import Added as Added
from infoprune.surgery.edit import Edit as Edit
from infoprune.surgery.edit import edits as edits
from infoprune.surgery.features import SendFeatures as SendFeatures
from infoprune.surgery.history import plans_of as plans_of
from infoprune.surgery.optimizer import rebuild_optimizer as rebuild_optimizer
from infoprune.surgery.plan import Plan as Plan
from infoprune.surgery.prune import certificate_of as certificate_of
from infoprune.surgery.prune import prune_ as prune_
from infoprune.surgery.token_scores import Arriving as Arriving
from infoprune.surgery.token_scores import token_scores as token_scores
from infoprune.surgery.tokens import KeepTokens as KeepTokens
from infoprune.surgery.widths import KeepWidths as KeepWidths
