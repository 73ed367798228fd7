"""Energy dependence of single channels on the labels: definition 2 of the energy paper, a channel at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from torch import Tensor

from infoprune.estimators.energy import coefficient, energy, energy_dependence
from infoprune.importance.base import About, importances
from infoprune.importance.response import ResponseImportance
from infoprune.registry import nearest

Statistic = Literal["coefficient", "energy"]
STATISTICS = {"coefficient": coefficient, "energy": energy}


@importances.register("energy")
@dataclass(frozen=True)
class EnergyImportance(ResponseImportance):
    """max over classes i, j of the energy between the channel's responses to class i and to class j.

    "energy" is the paper's (eq. 4), in the units of the responses: a channel whose weights are twice as large
    scores twice as much, whatever norm follows. The default "coefficient" is the share of the mean distance
    between the two classes, in [0, 1]: 0 for a channel that answers all classes alike (or is constant), 1
    for one that answers each class with a number of its own. Both are V-statistics, so that a channel that
    knows nothing scores about 1 / (samples of a class), not 0.

    Args:
        seen: What `observe` saw, with labels that are classes.
        statistic: "energy" or "coefficient".
        normalizer: Makes groups comparable where a pruner ranks them together: a word of torch-pruning such as "mean",
            a function, or None for scores as they are.
        reduction: How what several layers say of one unit becomes one score: "mean", "sum", "max", "prod" or "first".
    """

    about: ClassVar[About] = About("ped", "channels x samples^2, of at most 512 samples", needs_data=True)

    statistic: Statistic = "coefficient"

    def __post_init__(self) -> None:
        super().__post_init__()
        known = list(get_args(Statistic))
        if self.statistic not in known:
            raise ValueError(f"there is no statistic {self.statistic!r}; {nearest(str(self.statistic), known)}")

    def dependence(self, responses: Tensor, labels: Tensor) -> Tensor:
        return energy_dependence(responses, labels, statistic=STATISTICS[self.statistic])
