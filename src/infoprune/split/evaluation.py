"""Accuracy of each task, and real bytes, when only some features are sent."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from infoprune.errors import UnusableData
from infoprune.split.metrics import Metric
from infoprune.split.model import SplitModel
from infoprune.wire import Codec, Selection, decode, encode


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What each image adds to each task's score, and the bytes that it took."""

    statistics: Mapping[str, Tensor]  # task: images x statistics
    bytes_per_image: Tensor

    def score(self, task: str, metric: Metric) -> float:
        """The task's score over all images; raises `UnusableData` where these hold nothing to score."""
        value = float(metric.score(self.statistics[task].sum(0)))
        if math.isnan(value):
            images = len(self.bytes_per_image)
            raise UnusableData(
                f"{task} has no {metric.unit}: none of the {images} images has a target that counts; add some that do"
            )
        return value

    def resampled(self, task: str, metric: Metric, *, draws: int = 1000, seed: int = 0) -> Tensor:
        """The score of random draws of the images with replacement; NaN for a draw that holds nothing to score.

        Args:
            task: Whose outputs are scored.
            metric: By what.
            draws: How many draws are made.
            seed: The same images for the same seed.
        """
        generator = torch.Generator().manual_seed(seed)
        count = len(self.bytes_per_image)
        drawn = torch.randint(count, (draws, count), generator=generator)
        times = torch.zeros(draws, count, dtype=torch.float64)
        times.scatter_add_(1, drawn, torch.ones(drawn.shape, dtype=torch.float64))
        return metric.score(times @ self.statistics[task])

    def interval(self, task: str, metric: Metric, *, draws: int = 1000, seed: int = 0) -> tuple[float, float]:
        """Where the middle 95 % of resampled scores lie, of the draws that hold something to score.

        Args:
            task: Whose outputs are scored.
            metric: By what.
            draws: How many draws are made.
            seed: The same images for the same seed.
        """
        self.score(task, metric)
        scores = self.resampled(task, metric, draws=draws, seed=seed)
        low, high = scores.nanquantile(torch.tensor([0.025, 0.975]).double())
        return float(low), float(high)


@dataclass(frozen=True)
class Point:
    """One way of sending: the share of features (the base share of soft selection), mean bytes and the scores."""

    share: float
    bytes_per_image: float
    scores: Mapping[str, float]
    qp: int | None = None


@torch.no_grad()
def evaluate(
    split: SplitModel,
    features: Sequence[Tensor],
    targets: Sequence[Mapping[str, Tensor]],
    metrics: Mapping[str, Metric],
    selection: Selection | None = None,
) -> Evaluation:
    """The cloud's scores on batches of features that went through a bit stream, image by image.

    Args:
        split: The network in two halves.
        features: What the first half gives, batch by batch.
        targets: What the tasks should answer, batch by batch.
        metrics: By task, what scores its outputs.
        selection: What is sent, and how; without one features arrive as they are, at 4 bytes a number.
    """
    statistics: dict[str, list[Tensor]] = {task: [] for task in metrics}
    lengths: list[int] = []
    for batch, wanted in zip(features, targets, strict=True):
        if not len(batch):
            continue
        streams = [encode(one, selection) for one in batch] if selection else None
        arrived = torch.stack([decode(stream) for stream in streams]) if streams else batch
        outputs = split.cloud(arrived)
        for task, metric in metrics.items():
            statistics[task].append(metric.statistics(outputs[task], wanted[task]))
        lengths += [len(stream) for stream in streams] if streams else [4 * batch[0].numel()] * len(batch)
    if not lengths:
        raise UnusableData("there are no features to evaluate; give at least one batch with an image in it")
    joined = {task: torch.cat(parts) for task, parts in statistics.items()}
    return Evaluation(joined, torch.tensor(lengths, dtype=torch.float64))


def hard_selection(order: Tensor, share: float) -> Selection:
    """The first `share` of the features in `order`, as 8-bit levels; the others are zero on arrival."""
    return Selection.hard(len(order), order[: counted(order, share)].tolist())


def soft_selection(order: Tensor, share: float, codec: Codec) -> Selection:
    """The first `share` of the features in `order` as 8-bit levels, the others through `codec`."""
    return Selection.soft(len(order), order[: counted(order, share)].tolist(), codec)


def counted(order: Tensor, share: float) -> int:
    """How many features a share of them is; at least one."""
    if not 0 < share <= 1:
        raise ValueError(f"share is {share}; it must lie in (0, 1]")
    return max(1, round(share * len(order)))


def point(evaluation: Evaluation, metrics: Mapping[str, Metric], *, share: float, qp: int | None = None) -> Point:
    """The means of an evaluation."""
    scores = {task: evaluation.score(task, metric) for task, metric in metrics.items()}
    return Point(share, float(evaluation.bytes_per_image.mean()), scores, qp)


def accuracy_against_share(
    split: SplitModel,
    features: Sequence[Tensor],
    targets: Sequence[Mapping[str, Tensor]],
    metrics: Mapping[str, Metric],
    order: Tensor,
    shares: Sequence[float] = (1.0, 0.9375, 0.875, 0.75, 0.5),
) -> tuple[Point, ...]:
    """Hard selection at several shares (fig. 5), with the bytes that each took.

    Args:
        split: The network in two halves.
        features: What the first half gives, batch by batch.
        targets: What the tasks should answer, batch by batch.
        metrics: By task, what scores its outputs.
        order: Features, best first.
        shares: Of the features that travel.
    """
    evaluations = ((s, evaluate(split, features, targets, metrics, hard_selection(order, s))) for s in shares)
    return tuple(point(evaluation, metrics, share=share) for share, evaluation in evaluations)


def accuracy_against_bytes(
    split: SplitModel,
    features: Sequence[Tensor],
    targets: Sequence[Mapping[str, Tensor]],
    metrics: Mapping[str, Metric],
    order: Tensor,
    codecs: Mapping[int, Codec],
    share: float = 0.5,
) -> tuple[Point, ...]:
    """Soft selection with one base share at several qualities (fig. 7).

    Args:
        split: The network in two halves.
        features: What the first half gives, batch by batch.
        targets: What the tasks should answer, batch by batch.
        metrics: By task, what scores its outputs.
        order: Features, best first.
        codecs: By QP, the codec for the features that are not in the base.
        share: Of the features that travel as 8-bit levels.
    """
    ways = ((qp, soft_selection(order, share, codec)) for qp, codec in codecs.items())
    evaluations = ((qp, evaluate(split, features, targets, metrics, selection)) for qp, selection in ways)
    return tuple(point(evaluation, metrics, share=share, qp=qp) for qp, evaluation in evaluations)
