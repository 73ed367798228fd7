"""The features that travel at a split, and what is left of the tasks when they do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from infoprune.data import First, InOrder, Task
from infoprune.finetune import Workers
from infoprune.graph.arguments import Arguments
from infoprune.graph.verify import evaluating
from infoprune.observe import kept_randomness
from infoprune.recipe.judging import Judged, from_sums, metrics_of, with_and_without
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
)
from infoprune.surgery import Plan
from infoprune.surgery.features import SendFeatures
from infoprune.surgery.inputs import described
from infoprune.wire import HEVC, Selection


def orders_of(recipe: Recipe, model: nn.Module, task: Task) -> dict[str, Tensor]:
    """The features best first, by information ("ours"), at random, and by l2."""
    assert recipe.split is not None
    seen = _seen(recipe, recipe.split, model, task)
    weights = dict.fromkeys(recipe.split.tasks or seen.tasks, 1.0)
    estimate = "excess" if recipe.split.estimate == "corrected" else "value"
    ours = rank(seen, weights, estimate=estimate)
    return {"ours": ours, "random": random_order(len(ours), seed=recipe.seed), "l2": rank(seen, by=l2)}


def selection_of(split: SplitSection, order: Tensor) -> Selection:
    if split.qp is None or split.share == 1:
        return hard_selection(order, split.share)
    return soft_selection(order, split.share, HEVC(split.qp))


def plan_of(split: SplitSection, order: Tensor, x: Tensor) -> Plan:
    made_by = {"at": split.at, "share": split.share, "qp": split.qp, "estimate": split.estimate}
    return Plan((SendFeatures(split.at, selection_of(split, order)),), made_by, {}, described(Arguments.of(x)))


def sent(plan: Plan) -> Selection:
    (edit,) = (edit for edit in plan.edits if isinstance(edit, SendFeatures))
    return edit.selection


@torch.no_grad()
def judged_over_the_wire(
    model: nn.Module, task: Task, at: str, selection: Selection | None, *, batch: int
) -> list[Judged]:
    """Every task's score and the bytes an image, when features travel as `selection` says; as floats without it."""
    us, split, metrics = Workers.now(), SplitModel(model, at=at), metrics_of(task.classes)
    device, found = next(model.parameters()).device, {}
    with evaluating(model):
        for place, (images, targets) in enumerate(InOrder(task.held_out, batch)):
            if place % us.world == us.rank:
                features = split.edge(images.to(device))
                got = evaluate(split, [features], [targets], metrics, selection)
                lengths = torch.stack([got.bytes_per_image, torch.ones_like(got.bytes_per_image)], 1)
                found[place] = {**got.statistics, "sent": lengths}
    everywhere = {place: one for part in us.gathered(found) for place, one in part.items()}
    ordered = [everywhere[place] for place in sorted(everywhere)]
    joined = {name: torch.cat([one[name] for one in ordered]) for name in ordered[0]}
    mean, *without = with_and_without(joined["sent"], lambda total: total[0] / total[1])
    length = Judged("traffic", "bytes an image", "lower", mean, tuple(without))
    return [*(from_sums(name, metric, joined[name]) for name, metric in metrics.items()), length]


def _seen(recipe: Recipe, split: SplitSection, model: nn.Module, task: Task) -> TaskObservations:
    """All workers see all samples: what is counted is not merged."""
    view = PrincipalAxes(split.patch) if split.estimate == "corrected" else WholePatches(split.patch)
    loader = pictures(First(task.train, recipe.data.calibration, recipe.data.batch, recipe.seed))
    with kept_randomness():
        return observe_tasks(
            model, loader, layers=[split.at], view=view, outputs=_as_pictures, seed=recipe.seed, progress=False
        )


def pictures(batches: Iterable[tuple[Tensor, Any]]) -> Iterator[Tensor]:
    return (images for images, _ in batches)


def _as_pictures(outputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """What should be compared: class probabilities, disparity in pixels, colours."""
    probabilities = outputs["segmentation"].softmax(1)
    return {**outputs, "segmentation": probabilities, "reconstruction": outputs["reconstruction"].clamp(0, 1)}
