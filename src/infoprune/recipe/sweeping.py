"""Every ranking of the features at a split beside the others: hard and soft selection, qualities and encoders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor

from infoprune.data import InOrder
from infoprune.graph.evaluating import evaluating
from infoprune.recipe.basis import Basis
from infoprune.recipe.judging import metrics_of
from infoprune.recipe.parts import Part
from infoprune.recipe.sections import SplitSection, SweepSection
from infoprune.recipe.split_features import seen_at
from infoprune.report.model import Sent, Sweep
from infoprune.split import (
    SplitModel,
    evaluate,
    geometric_median,
    hard_selection,
    l1,
    l2,
    random_order,
    rank,
    soft_selection,
)
from infoprune.wire import Selection, codecs
from infoprune.wire.codec import codec_at

BLIND = {"l1": l1, "l2": l2, "geometric median": geometric_median}
ALL = "all tasks"


@dataclass(frozen=True)
class Way:
    """How features are sent: the best `share` alone, or with the others through an encoder at a quality."""

    share: float
    qp: int | None = None
    encoder: str | None = None

    def selection(self, order: Tensor) -> Selection:
        if self.qp is None or self.encoder is None:
            return hard_selection(order, self.share)
        return soft_selection(order, self.share, codec_at(codecs[self.encoder], self.qp))


def ways_of(sweep: SweepSection) -> list[Way]:
    hard = [Way(share) for share in (*sweep.shares, *(s for s in sweep.bases if s not in sweep.shares))]
    return [*hard, *(Way(*one) for one in product(sweep.bases, sweep.qps, sweep.encoders))]


def require_encoders(sweep: SweepSection) -> None:
    """Raise MissingExtra for an encoder that is not there."""
    for encoder in sweep.encoders:
        codec_at(codecs[encoder], sweep.qps[0]).encode(np.zeros((16, 16), np.uint8))


def orders_by_ranking(basis: Basis, split: SplitSection) -> dict[tuple[str, str], Tensor]:
    """(ranking, task) -> features best first: by information about each task and about all, and by task-blind scores.

    What knows no task has none.
    """
    seen, recipe = seen_at(basis.recipe, split, basis.model, basis.task), basis.recipe
    about: Mapping[str, Any] = {**{task: task for task in seen.tasks}, ALL: dict.fromkeys(seen.tasks, 1.0)}
    orders = {("information", name): rank(seen, t, estimate=split.estimate, tied=1) for name, t in about.items()}
    orders |= {(name, ""): rank(seen, by=score) for name, score in BLIND.items()}
    return {**orders, ("random", ""): random_order(seen.layer().channels, seed=recipe.seed)}


@torch.no_grad()
def swept(basis: Basis, split: SplitSection, sweep: SweepSection, known: Sequence[Sent]) -> Iterator[Sent]:
    """What every way of sending leaves of the tasks, one after the other; those that are `known` are not done again."""
    orders, metrics = orders_by_ranking(basis, split), metrics_of(basis.task.classes)
    halves, done = SplitModel(basis.model, at=split.at), {_key(sent) for sent in known}
    with evaluating(basis.model):
        features, targets = _features(halves, basis, sweep.pictures)
        ways = [(("everything", ""), Way(1.0)), *product(orders, ways_of(sweep))]
        for (ranking, task), way in ways:
            if (ranking, task, way.share, way.qp, way.encoder) in done:
                continue
            order = orders.get((ranking, task), next(iter(orders.values())))
            evaluation = evaluate(halves, features, targets, metrics, way.selection(order))
            scores = {name: evaluation.score(name, metric) for name, metric in metrics.items()}
            yield Sent(ranking, task, way.share, float(evaluation.bytes_per_image.mean()), scores, way.qp, way.encoder)


def sweep_of(sent: list[Sent], classes: int, pictures: int) -> Sweep:
    metrics = metrics_of(classes)
    units = {name: metric.unit for name, metric in metrics.items()}
    return Sweep(tuple(sent), units, {name: metric.better for name, metric in metrics.items()}, pictures)


def _key(sent: Sent) -> tuple:
    return sent.ranking, sent.task, sent.share, sent.qp, sent.encoder


def _features(halves: SplitModel, basis: Basis, pictures: int) -> tuple[list[Tensor], list[Any]]:
    """What a device would send of the first held-out pictures, and what the tasks should make of it."""
    device, features, targets = next(basis.model.parameters()).device, [], []
    first = Part(basis.task.held_out, range(min(pictures, len(basis.task.held_out))))
    for images, maps in InOrder(first, basis.recipe.data.batch):
        features.append(halves.edge(images.to(device)))
        targets.append(maps)
    return features, targets
