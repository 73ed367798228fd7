"""Channels by what they tell about a task: Ranjbar Alvar and Bajić, "Compressive feature selection", section 3."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from infoprune.graph.member import Member, part_of
from infoprune.importance.base import About, Importance, importances
from infoprune.observe.tasks import Estimate, TaskObservations, TaskWeights


@importances.register("mutual_information")
@dataclass(frozen=True)
class MutualInformationImportance(Importance):
    """I(patches of the channel; clustered patches of the task's output) in nats; a weighted sum for several tasks.

    All estimates are the same for a channel and its multiples. A channel belongs to the layer that computes it, and
    layers that were not observed say nothing.

    Args:
        seen: What `infoprune.split.observe_tasks` saw of the same model.
        task: One of its tasks, or {task: weight} with weights of any sum.
        estimate: "excess" is what labels add over permuted ones and may be slightly negative for a channel that tells
            nothing; "value" is the paper's plug-in estimate, "miller_madow" the corrected one.
        normalizer: Makes groups comparable where a pruner ranks them together: a word of torch-pruning such as "mean",
            a function, or None for scores as they are.
        reduction: How what several layers say of one unit becomes one score: "mean", "sum", "max", "prod" or "first".
    """

    about: ClassVar[About] = About("mi-feature-selection", "one pass over data; none afterwards", needs_data=True)

    seen: TaskObservations = field(repr=False)
    task: TaskWeights = None
    estimate: Estimate = "excess"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.seen, TaskObservations):
            raise TypeError(f"seen is {type(self.seen).__name__}; pass what split.observe_tasks(model, loader) gave")
        self.seen.scores(next(iter(self.seen.layers)), self.task, self.estimate)

    def score(self, member: Member) -> Tensor | None:
        if member.role not in ("out", "depthwise") or member.name not in self.seen.layers:
            return None
        part = part_of(member.layer)
        self.seen.require_channels(member.name, part.size)
        return self.seen.scores(member.name, self.task, self.estimate).float()[part.index[member.index]]
