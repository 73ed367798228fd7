"""The order in which the features at a split are worth sending: by information, or by scores that know no task."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from infoprune.errors import Saturated
from infoprune.observe.tasks import Estimate, LayerEvidence, TaskObservations, TaskWeights

ROUNDING = 1e-9  # of the labels' entropy: scores closer than this are the same
TIED = 0.5  # share of tied features above which there is no order to speak of


def rank(
    seen: TaskObservations,
    task: TaskWeights = None,
    *,
    at: str | None = None,
    by: Callable[[LayerEvidence], Tensor] | None = None,
    estimate: Estimate = "excess",
    tied: float = TIED,
) -> Tensor:
    """Indices of the features of a layer, best first (eq. 7); of equal ones the first comes first.

    Args:
        seen: What `observe_tasks` saw.
        task: Whose information counts: a name, or {task: weight}; may be left out where one was observed.
        at: Name of the layer; may be left out where one was observed.
        by: In place of information, a task-blind score of the values such as `l1`, `l2` and `geometric_median`.
        estimate: Which number of the evidence: "excess" over what chance gives, the plain "value", or "miller_madow".
        tied: Raise `Saturated` if more than this share of the features have a score that another one has too: their
            order would be that of their indices. `tied=1` takes it all the same.
    """
    if by:
        return by(seen.layer(at)).argsort(descending=True, stable=True)
    share = tied_share(seen, task, at=at, estimate=estimate)
    if share > tied:
        raise Saturated(
            f"{share:.0%} of the features have the same information ({estimate!r}) as another, so that their order "
            "would be that of their indices; look at less of each patch (view=PrincipalAxes(), or FixedSteps() with "
            "wide steps) and rank by the 'excess', or pass tied=1"
        )
    scores = seen.scores(at, task, estimate)
    return scores.argsort(descending=True, stable=True)


def tied_share(
    seen: TaskObservations, task: TaskWeights = None, *, at: str | None = None, estimate: Estimate = "excess"
) -> float:
    """The share of features whose information is, but for rounding, that of another feature.

    Args:
        seen: What `observe_tasks` saw.
        task: As in `rank`.
        at: As in `rank`.
        estimate: As in `rank`.
    """
    scores, _ = seen.scores(at, task, estimate).sort()
    ceiling = float((seen.layer(at).information.label_entropy @ seen.weights(task)).max())
    same = scores.diff() <= ROUNDING * ceiling
    edge = same.new_zeros(1)
    return float((torch.cat([edge, same]) | torch.cat([same, edge])).double().mean())


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
