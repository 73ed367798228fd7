"""The features that travel at a split, and what is left of the tasks when they do."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from infoprune.data import First, InOrder, Task
from infoprune.finetune import Processes
from infoprune.graph.arguments import Arguments
from infoprune.graph.evaluating import evaluating
from infoprune.observe import kept_randomness
from infoprune.recipe.evidence import pictures
from infoprune.recipe.judging import in_order, metrics_of, scores_of, three_maps, with_and_without
from infoprune.recipe.quality import Judged, Scores
from infoprune.recipe.sections import Recipe, SplitSection
from infoprune.split import (
    PrincipalAxes,
    SplitModel,
    TaskObservations,
    WholePatches,
    evaluate,
    hard_selection,
    l2,
    observe_tasks,
    random_order,
    rank,
    soft_selection,
    tied_share,
)
from infoprune.split.ranking import TIED
from infoprune.surgery import Plan
from infoprune.surgery.features import SendFeatures
from infoprune.surgery.inputs import described
from infoprune.wire import HEVC, Selection


def require_split_point(model: nn.Module, at: str, x: Tensor) -> None:
    """Raise NotACut, or UnknownName, unless what `at` gives out is all that the rest of the model needs."""
    with torch.no_grad():
        SplitModel(model, at)(x)


def orders_of(recipe: Recipe, split: SplitSection, model: nn.Module, task: Task) -> tuple[dict[str, Tensor], str]:
    """The features best first, by information ("ours"), at random, and by l2; and why information gives no order."""
    seen = seen_at(recipe, split, model, task)
    weights = dict.fromkeys(split.tasks or seen.tasks, 1.0)
    ours = rank(seen, weights, estimate=split.estimate, tied=1)
    orders = {"ours": ours, "random": random_order(len(ours), seed=recipe.seed), "l2": rank(seen, by=l2)}
    share = tied_share(seen, weights, estimate=split.estimate)
    if share <= TIED:
        return orders, ""
    reason = f"information ({split.estimate}, patches of {split.patch}) is the same for {share:.0%} of the features"
    return orders, f"{reason}: their order is that of their indices"


def selection_of(split: SplitSection, order: Tensor) -> Selection:
    if split.qp is None or split.share == 1:
        return hard_selection(order, split.share)
    return soft_selection(order, split.share, HEVC(split.qp))


def plan_of(split: SplitSection, order: Tensor, x: Tensor, *, saturated: str = "") -> Plan:
    made_by = {"at": split.at, "share": split.share, "qp": split.qp, "estimate": split.estimate}
    made_by |= {"saturated": saturated} if saturated else {}
    return Plan((SendFeatures(split.at, selection_of(split, order)),), made_by, {}, described(Arguments.of(x)))


def sent(plan: Plan | None) -> Selection | None:
    """What a plan lets travel; None where all features do, as floats."""
    edits = [edit for edit in plan.edits if isinstance(edit, SendFeatures)] if plan else []
    return edits[0].selection if edits else None


@torch.no_grad()
def judged_over_the_wire(model: nn.Module, task: Task, at: str, selection: Selection | None, *, batch: int) -> Scores:
    """Every task's score and the bytes an image, when features travel as `selection` says; as floats without it."""
    us, split, metrics = Processes.now(), SplitModel(model, at=at), metrics_of(task.classes)
    device, batches = next(model.parameters()).device, {}
    with evaluating(model):
        for place, (images, targets) in enumerate(InOrder(task.held_out, batch)):
            if place % us.world == us.rank:
                features = split.edge(images.to(device))
                maps: Any = targets  # one a task, by name
                got = evaluate(split, [features], [maps], metrics, selection)
                lengths = torch.stack([got.bytes_per_image, torch.ones_like(got.bytes_per_image)], 1)
                batches[place] = {**got.statistics, "sent": lengths}
    joined = in_order(us.gathered(batches))
    mean, *without = with_and_without(joined["sent"], lambda total: total[0] / total[1])
    length = Judged("traffic", "bytes an image", "lower", mean, tuple(without))
    return Scores((*scores_of(metrics, joined), length))


def seen_at(recipe: Recipe, split: SplitSection, model: nn.Module, task: Task) -> TaskObservations:
    """What the features at the split tell about the tasks. All processes see all samples: counts are not merged."""
    view = WholePatches(split.patch) if split.estimate == "value" else PrincipalAxes(split.patch)
    loader = pictures(First(task.train, recipe.data.calibration, recipe.data.batch, recipe.seed))
    with kept_randomness():
        return observe_tasks(
            model, loader, layers=[split.at], view=view, outputs=three_maps, cells=split.cells, seed=recipe.seed,
            progress=False,
        )  # fmt: skip
