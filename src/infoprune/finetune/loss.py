"""What is minimised: an error against the targets, mixed with the dense model's answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from infoprune.data.randomness import mixed
from infoprune.finetune.options import Training
from infoprune.observe import kept_randomness

Mix = Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]]
TOKENS = 0.5  # what token logits weigh beside the class logits (Jiang et al. 2021)


class Goal(ABC):
    """What a network is trained for."""

    @abstractmethod
    def loss(self, forward: Callable[..., Any], images: Tensor, targets: Any, dense: Any, training: Training) -> Tensor:
        """The loss of one batch.

        Args:
            forward: The network as a function.
            images: What it takes.
            targets: What it should answer, as the data have it.
            dense: What the dense model answers, None where it is not asked.
            training: The settings, such as `label_smoothing` and `distill`.
        """


@dataclass(frozen=True)
class Naming(Goal):
    """The right class has the largest logit.

    A network that gives (class logits, token logits n x t x c) in training learns the label for every token as well.
    """

    def loss(self, forward: Callable[..., Any], images: Tensor, targets: Any, dense: Any, training: Training) -> Tensor:
        output = forward(images)
        if isinstance(output, Tensor):
            return loss_of(output, targets, dense, training)
        logits, tokens = output
        each = targets.repeat_interleave(tokens.shape[1], 0)
        return loss_of(logits, targets, dense, training) + TOKENS * loss_of(tokens.flatten(0, 1), each, None, training)


def loss_of(logits: Tensor, targets: Tensor, dense: Tensor | None, training: Training) -> Tensor:
    """(1 - d) CE(logits, targets) + d T^2 KL(softmax(dense / T) || softmax(logits / T)); CE alone without `dense`."""
    smoothing = 0.0 if targets.is_floating_point() else training.label_smoothing
    hard = F.cross_entropy(logits.float(), targets, label_smoothing=smoothing)
    if dense is None:
        return hard
    return (1 - training.distill) * hard + training.distill * softened_divergence(logits, dense, training.temperature)


def softened_divergence(logits: Tensor, dense: Tensor, temperature: float) -> Tensor:
    """T^2 times the mean over samples of KL between the softened answers (Hinton et al. 2015)."""
    p, q = (dense.float() / temperature).log_softmax(-1), (logits.float() / temperature).log_softmax(-1)
    return F.kl_div(q, p, reduction="batchmean", log_target=True) * temperature**2


def mix_of(training: Training, classes: int, seed: int) -> Mix:
    """timm's mixup and cutmix, whose draws depend on (seed, step) alone; without either the batch as it is."""
    if not training.mixup and not training.cutmix:
        return lambda images, labels, step: (images, labels)
    import numpy as np
    from timm.data import Mixup

    mixer = Mixup(
        training.mixup, training.cutmix, label_smoothing=training.label_smoothing, num_classes=classes, mode="batch"
    )

    def mix(images: Tensor, labels: Tensor, step: int) -> tuple[Tensor, Tensor]:
        with kept_randomness():
            np.random.seed(mixed(seed, step) % 2**32)
            kept = len(images) // 2 * 2  # timm pairs pictures
            return mixer(images[:kept].clone(), labels[:kept])

    return mix
