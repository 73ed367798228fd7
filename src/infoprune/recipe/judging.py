"""How well a network does what its data ask for, as scores that know their spread."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from infoprune.data import InOrder, Task
from infoprune.data.coco import AtSize, precisions, results
from infoprune.data.coco_objects import Objects
from infoprune.errors import UnusableData
from infoprune.finetune import Workers
from infoprune.finetune.machine import autocast
from infoprune.finetune.options import Precision
from infoprune.graph.verify import evaluating
from infoprune.report.model import Interval
from infoprune.split import PSNR, RMSE, MeanIoU, Metric

GROUPS = 20  # of held-out pictures, each of which is left out once


@dataclass(frozen=True)
class Judged:
    """One score on held-out pictures, and what it is without each of some groups of them."""

    name: str
    unit: str
    better: Literal["higher", "lower"]
    value: float
    without: tuple[float, ...]

    @property
    def interval(self) -> Interval:
        return _jackknife(self.value, self.without)

    def gain_over(self, other: Judged) -> Interval:
        """How much better than `other` on the same pictures; positive is better, whatever the score."""
        sign = 1.0 if self.better == "higher" else -1.0
        without = tuple(sign * (a - b) for a, b in zip(self.without, other.without, strict=True))
        return _jackknife(sign * (self.value - other.value), without)


def _jackknife(value: float, without: tuple[float, ...]) -> Interval:
    """value +- t s, s^2 = (g - 1) / g sum of squared deviations of g values, each without one group (Quenouille)."""
    from scipy.special import stdtrit

    g = len(without)
    mean = sum(without) / g
    error = math.sqrt((g - 1) / g * sum((w - mean) ** 2 for w in without))
    half = float(stdtrit(g - 1, 0.975)) * error
    return Interval(value, value - half, value + half)


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


@torch.no_grad()
def judged_maps(model: nn.Module, task: Task, *, batch: int, precision: Precision) -> list[Judged]:
    """Every task's score; workers share the pictures."""
    us, device, metrics = Workers.now(), next(model.parameters()).device, metrics_of(task.classes)
    found: dict[int, dict[str, Tensor]] = {}
    with evaluating(model), autocast(device, precision):
        for place, (images, targets) in enumerate(InOrder(task.held_out, batch)):
            if place % us.world == us.rank:
                outputs = model(images.to(device, memory_format=torch.channels_last))
                found[place] = {
                    name: metric.statistics(outputs[name].float().cpu(), targets[name])
                    for name, metric in metrics.items()
                }
    return _joined(us.gathered(found), metrics)


def _joined(parts: Iterable[Mapping[int, Mapping[str, Tensor]]], metrics: Mapping[str, Metric]) -> list[Judged]:
    places = {place: statistics for part in parts for place, statistics in part.items()}
    ordered = [places[place] for place in sorted(places)]
    return [from_sums(name, metric, torch.cat([s[name] for s in ordered])) for name, metric in metrics.items()]


@torch.no_grad()
def judged_objects(model: nn.Module, task: Task, **_: object) -> list[Judged]:
    """COCO's precision of boxes and masks; every worker looks at every picture."""
    examples = task.held_out
    assert isinstance(examples, Objects)
    device = next(model.parameters()).device

    def detect(pictures: list[Tensor]) -> list[dict[str, Tensor]]:
        return AtSize(model, (examples.size, examples.size))([picture.to(device) for picture in pictures])

    with evaluating(model):
        found = results(detect, examples.pictures)
    told = precisions(examples.pictures, found, groups_of(len(examples)))
    return [Judged(kind, "AP", "higher", value, tuple(without)) for kind, (value, *without) in told.items()]


JUDGES: dict[str, Callable[..., list[Judged]]] = {"maps": judged_maps, "objects": judged_objects}
