"""Which learning rate suits what is already right: each of a few is tried for a small share of the training."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from infoprune.finetune.options import Training

FACTORS = (1.0, 1 / 3, 1 / 10)  # of the rate that was asked for
FEWEST = 4  # steps of a trial, below which it tells nothing
JUDGED = 8  # batches that tell how good a trial is


@dataclass(frozen=True)
class Probed:
    """rate -> loss after its trial, on batches that it was not trained on."""

    losses: Mapping[float, float]

    @property
    def best(self) -> float:
        """The rate with the lowest loss; one that fails loses."""
        return min(self.losses, key=lambda rate: (not self.losses[rate] < float("inf"), self.losses[rate]))

    def __str__(self) -> str:
        tried = ", ".join(f"{rate:.3g}: {loss:.4f}" for rate, loss in self.losses.items())
        return f"trying rates ({tried}): {self.best:.3g} it is"


def probed(model: nn.Module, training: Training, attempt: Callable[[nn.Module, Training], float]) -> Probed:
    """Try the rates on copies of the model; `attempt` trains one and returns its loss.

    A trial is a whole training in small: its own schedule, from the same weights, without what comes on top.
    """
    share = training.probe
    short = replace(
        training,
        epochs=share * training.epochs,
        warmup_epochs=share * training.warmup_epochs,
        probe=0.0,
        ema=None,
        minutes=None,
    )
    rates = [factor * training.lr for factor in FACTORS]
    return Probed({rate: attempt(copy.deepcopy(model), replace(short, lr=rate)) for rate in rates})


def mean_loss(losses: Iterable[Tensor]) -> float:
    """Over batches; NaN counts as infinite."""
    mean = torch.stack([loss.double().cpu() for loss in losses]).mean()
    return float(mean.nan_to_num(nan=float("inf")))
