"""After surgery: what left is said by what stays."""

from infoprune.compensation.compensating import compensate_ as compensate_
from infoprune.compensation.norms import agreement_when_renewed as agreement_when_renewed
from infoprune.compensation.norms import reestimate_ as reestimate_
from infoprune.compensation.norms import relative_ as relative_
from infoprune.compensation.result import Compensation as Compensation
from infoprune.compensation.result import Row as Row
