"""What differs between class labels, maps and objects: what is learnt, how it is judged, what can be asked of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from infoprune.data import Kind
from infoprune.finetune import Goal, Naming
from infoprune.recipe.judging import judged_maps, judged_names, judged_objects, three_maps
from infoprune.recipe.quality import Hits, Quality, Scores
from infoprune.recipe.training_goals import Detecting, ThreeMaps


@dataclass(frozen=True)
class TaskKind:
    """One kind of targets. `named`: they are classes, which can be observed and mixed; `mapped`: maps of three tasks.

    `judged` says how well a network does, as `quality`; `outputs` is what it gives out, task by task, for observation.
    """

    goal: Goal
    judged: Callable[..., Quality]
    quality: type[Quality]
    named: bool = False
    mapped: bool = False
    distils: bool = True
    outputs: Callable[[Any], Mapping[str, Tensor]] | None = None

    def calibration(self, batches: Iterable[tuple[Tensor, Any]]) -> Iterable[Any]:
        """What is observed: classes go along, other targets don't."""
        return batches if self.named else [images for images, _ in batches]


KINDS: Mapping[Kind, TaskKind] = {
    "labels": TaskKind(Naming(), judged_names, Hits, named=True),
    "maps": TaskKind(ThreeMaps(), judged_maps, Scores, mapped=True, outputs=three_maps),
    "objects": TaskKind(Detecting(), judged_objects, Scores, distils=False),
}
