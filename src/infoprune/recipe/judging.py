"""How well a network does what its data ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from infoprune.data import InOrder, Task
from infoprune.data.coco import AtSize, precisions, results
from infoprune.data.coco_objects import Objects
from infoprune.errors import UnusableData
from infoprune.finetune import Processes, hits
from infoprune.finetune.number_format import autocast
from infoprune.finetune.options import Precision
from infoprune.graph.evaluating import evaluating
from infoprune.recipe.quality import Hits, Judged, Scores
from infoprune.split import PSNR, RMSE, MeanIoU, Metric

GROUPS = 20  # of held-out pictures, each of which is left out once


def groups_of(pictures: int) -> int:
    if pictures < 2:
        raise UnusableData(f"{pictures} held-out picture can't tell how sure a score is; give at least 2")
    return min(GROUPS, pictures)


def from_sums(name: str, metric: Metric, statistics: Tensor) -> Judged:
    """A score of statistics that add up over pictures, images x statistics."""
    value, *without = with_and_without(statistics, metric.score)
    return Judged(name, metric.unit, metric.better, value, tuple(without))


def with_and_without(statistics: Tensor, score: Callable[[Tensor], Tensor]) -> list[float]:
    """The score of all pictures, then of those without each group."""
    groups, total = groups_of(len(statistics)), statistics.sum(0)
    return [float(score(total)), *(float(score(total - statistics[i::groups].sum(0))) for i in range(groups))]


def metrics_of(classes: int) -> dict[str, Metric]:
    """The scores of the three tasks."""
    return {"segmentation": MeanIoU(classes), "disparity": RMSE(), "reconstruction": PSNR()}


def three_maps(outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What should be compared: class probabilities, disparity in pixels, colours."""
    probabilities = outputs["segmentation"].softmax(1)
    return {**outputs, "segmentation": probabilities, "reconstruction": outputs["reconstruction"].clamp(0, 1)}


def judged_names(model: nn.Module, task: Task, *, batch: int, precision: Precision, workers: int = 0) -> Hits:
    """Which held-out pictures the model names rightly."""
    return Hits(tuple(hits(model, task.held_out, batch=max(batch, 256), precision=precision, workers=workers)))


@torch.no_grad()
def judged_maps(model: nn.Module, task: Task, *, batch: int, precision: Precision, workers: int = 0) -> Scores:
    """Every task's score; processes share the pictures."""
    us, device, metrics = Processes.now(), next(model.parameters()).device, metrics_of(task.classes)
    statistics: dict[int, dict[str, Tensor]] = {}
    with evaluating(model), autocast(device, precision):
        for place, (images, targets) in enumerate(InOrder(task.held_out, batch)):
            if place % us.world == us.rank:
                maps: Any = targets  # one a task, by name
                outputs = model(images.to(device, memory_format=torch.channels_last))
                statistics[place] = {
                    name: metric.statistics(outputs[name].float().cpu(), maps[name]) for name, metric in metrics.items()
                }
    return Scores(tuple(scores_of(metrics, in_order(us.gathered(statistics)))))


def in_order(parts: Iterable[Mapping[int, Mapping[str, Tensor]]]) -> dict[str, Tensor]:
    """What processes found of single batches, by name, in the order of the pictures."""
    places = {place: statistics for part in parts for place, statistics in part.items()}
    ordered = [places[place] for place in sorted(places)]
    return {name: torch.cat([one[name] for one in ordered]) for name in ordered[0]}


def scores_of(metrics: Mapping[str, Metric], statistics: Mapping[str, Tensor]) -> list[Judged]:
    return [from_sums(name, metric, statistics[name]) for name, metric in metrics.items()]


@torch.no_grad()
def judged_objects(model: nn.Module, task: Task, **_: object) -> Scores:
    """COCO's precision of boxes and masks; every process looks at every picture."""
    examples = task.held_out
    if not isinstance(examples, Objects):
        raise UnusableData(f"data.{task.name} has objects that are not in COCO's layout; give it as coco_instances")
    device = next(model.parameters()).device

    def detect(pictures: list[Tensor]) -> list[dict[str, Tensor]]:
        return AtSize(model, (examples.size, examples.size))([picture.to(device) for picture in pictures])

    with evaluating(model):
        detections = results(detect, examples.pictures)
    by_kind = precisions(examples.pictures, detections, groups_of(len(examples)))
    return Scores(
        tuple(Judged(kind, "AP", "higher", value, tuple(without)) for kind, (value, *without) in by_kind.items())
    )
