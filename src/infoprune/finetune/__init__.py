"""Training what is left: one plain loop that can be killed at any moment."""

from infoprune.deprecated import renamed
from infoprune.finetune.callbacks import Progress as Progress
from infoprune.finetune.callbacks import Surroundings as Surroundings
from infoprune.finetune.callbacks import Trained as Trained
from infoprune.finetune.checkpoints import Checkpoints as Checkpoints
from infoprune.finetune.domain import Domain as Domain
from infoprune.finetune.domain import domain_of as domain_of
from infoprune.finetune.loop import train as train
from infoprune.finetune.loss import Goal as Goal
from infoprune.finetune.loss import Naming as Naming
from infoprune.finetune.matching import Matching as Matching
from infoprune.finetune.matching import match_ as match_
from infoprune.finetune.norms import reestimate_ as reestimate_
from infoprune.finetune.options import Training as Training
from infoprune.finetune.scoring import hits as hits
from infoprune.processes import Processes as Processes
from infoprune.processes import joined as joined

__getattr__ = renamed(__name__, {"Workers": "Processes"})
