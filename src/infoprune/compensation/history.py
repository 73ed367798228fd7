"""What compensation did to a model, in order, remembered for as long as the model lives."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.utils.weak import WeakIdKeyDictionary

from infoprune.compensation.result import Compensation

_done: Any = WeakIdKeyDictionary()  # model -> its compensations


def note_compensation(model: nn.Module, done: Compensation) -> None:
    """Say that this has just been done to the model."""
    _done[model] = (*compensations_of(model), done)


def compensations_of(model: nn.Module) -> tuple[Compensation, ...]:
    """What `compensate_` did to this very object, first to last; a copy or a loaded model has none."""
    done: tuple[Compensation, ...] = _done.get(model, ())
    return done
