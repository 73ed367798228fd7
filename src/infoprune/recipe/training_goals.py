"""What networks with maps and detectors are trained for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from infoprune.finetune import Goal, Training

DISPARITY, RECONSTRUCTION = 0.5, 3.0  # what the tasks weigh beside the classes
NOT_SEEN = 255  # pixels without a class


@dataclass(frozen=True)
class ThreeMaps(Goal):
    """Classes, disparity where it is known, and the picture: CE + 0.5 smooth L1 + 3 L1.

    With the dense model's maps, (1 - d) of that and d of the same with its class probabilities, disparity and picture.
    """

    def loss(self, forward: Callable[..., Any], images: Tensor, targets: Any, dense: Any, training: Training) -> Tensor:
        outputs = forward(images)
        hard = three_errors(outputs, targets["segmentation"], targets["disparity"], targets["reconstruction"])
        if dense is None:
            return hard
        soft = three_errors(
            outputs,
            dense["segmentation"].float().softmax(1),
            dense["disparity"].float(),
            dense["reconstruction"].float(),
        )
        return (1 - training.distill) * hard + training.distill * soft


def three_errors(outputs: Any, classes: Tensor, disparity: Tensor, picture: Tensor) -> Tensor:
    """`classes` are labels n x h x w, or probabilities n x c x h x w."""
    known = disparity > 0
    near = F.smooth_l1_loss(outputs["disparity"].float()[known], disparity[known], reduction="sum")
    return (
        _class_error(outputs["segmentation"].float(), classes)
        + DISPARITY * near / known.sum().clamp(min=1)
        + RECONSTRUCTION * F.l1_loss(outputs["reconstruction"].float(), picture)
    )


def _class_error(logits: Tensor, classes: Tensor) -> Tensor:
    if classes.is_floating_point():
        return F.cross_entropy(logits, classes)
    return F.cross_entropy(logits, classes, ignore_index=NOT_SEEN)


@dataclass(frozen=True)
class Detecting(Goal):
    """The losses that a detector itself gives for pictures with targets; the dense model is not asked."""

    def loss(self, forward: Callable[..., Any], images: Tensor, targets: Any, dense: Any, training: Training) -> Tensor:
        return sum(forward(images, targets).values())  # type: ignore[return-value]
