"""The order in which the features at a split are worth sending: by information, or by scores that know no task."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from infoprune.observe.tasks import Estimate, LayerEvidence, TaskObservations, TaskWeights


def rank(
    seen: TaskObservations,
    task: TaskWeights = None,
    *,
    at: str | None = None,
    by: Callable[[LayerEvidence], Tensor] | None = None,
    estimate: Estimate = "excess",
) -> Tensor:
    """Indices of the features of layer `at`, best first (eq. 7); of equal ones the first comes first.

    By information about `task` (a name, or {task: weight}), or by a task-blind score of their values such as `l1`,
    `l2` and `geometric_median`.
    """
    scores = by(seen.layer(at)) if by else seen.scores(at, task, estimate)
    return scores.argsort(descending=True, stable=True)


def l1(evidence: LayerEvidence) -> Tensor:
    """Mean |x| of each feature."""
    return evidence.mean_absolute


def l2(evidence: LayerEvidence) -> Tensor:
    """Root mean square of each feature."""
    return evidence.gram.diagonal().sqrt()


def geometric_median(evidence: LayerEvidence) -> Tensor:
    """sum_k |X_i - X_k|: small for features near the geometric median of all, which others can stand for.

    Distances are over all images and places together (He et al. 2019, with features in the place of filters).
    """
    square = evidence.gram.diagonal()
    return (square[:, None] + square - 2 * evidence.gram).clamp(min=0).sqrt().sum(1)


def random_order(features: int, *, seed: int) -> Tensor:
    """A baseline without any evidence."""
    return torch.randperm(features, generator=torch.Generator().manual_seed(seed))
