"""The learning rate as a pure function of the step."""

from __future__ import annotations

import math

from infoprune.finetune.options import Training

RISE, START, END = 0.15, 1 / 25, 1e-4  # one cycle: share of steps that rise, first and last rate over the peak


def rate_at(training: Training, step: int, steps: int, per_epoch: int) -> float:
    """The learning rate of step 0 <= step < steps.

    >>> [round(rate_at(Training(lr=1.0), step, 4, 4), 3) for step in range(4)]
    [1.0, 0.854, 0.5, 0.146]
    """
    warm = round(training.warmup_epochs * per_epoch)
    if step < warm:
        return training.lr * (step + 1) / (warm + 1)
    done = (step - warm) / max(1, steps - warm)
    if training.schedule == "constant":
        return training.lr
    if training.schedule == "cosine":
        return training.lr * (1 + math.cos(math.pi * done)) / 2
    if done < RISE:
        return training.lr * _between(START, 1.0, done / RISE)
    return training.lr * _between(1.0, END, (done - RISE) / (1 - RISE))


def _between(start: float, end: float, share: float) -> float:
    """From start to end along half a cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
