"""HSIC of single channels with the labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from infoprune.importance.base import About, importances
from infoprune.importance.response import ResponseImportance


@importances.register("hsic")
@dataclass(frozen=True)
class HSICImportance(ResponseImportance):
    """nHSIC(X, Y) of the channel's responses X with the labels Y (eq. 8 of the pruning paper), in [0, 1].

    Kernels are linear on the responses and "same class or not" on the labels, so that HSIC is the squared
    norm of a cross-covariance, |X'HY|^2, and costs no Gram matrix. It sees classes that differ in the mean of
    the responses. Biased up by about classes / samples, for every channel alike. 0 for a channel that is constant.

    Args:
        seen: What `observe` saw, with labels that are classes.
        normalised: False gives HSIC itself, in squared units of the responses.
        normalizer: Makes groups comparable where a pruner ranks them together: a word of torch-pruning such as "mean",
            a function, or None for scores as they are.
        reduction: How what several layers say of one unit becomes one score: "mean", "sum", "max", "prod" or "first".
    """

    about: ClassVar[About] = About("itpruner", "channels x samples x classes, of at most 512 samples", needs_data=True)

    normalised: bool = True

    def dependence(self, responses: Tensor, labels: Tensor) -> Tensor:
        x = responses.double()
        x = x - x[..., :1, :]  # what is constant becomes exactly zero
        x = x - x.mean(-2, keepdim=True)
        y = one_hot(labels.unique(return_inverse=True)[1]).to(x)
        y = y - y.mean(0)
        shared = _squared_norm(x.mT @ y)
        if not self.normalised:
            return shared / (len(y) - 1) ** 2
        scale = (_squared_norm(x.mT @ x) * _squared_norm(y.mT @ y)).sqrt()
        return torch.where(scale > 0, shared / scale, 0.0)


def _squared_norm(matrices: Tensor) -> Tensor:
    return matrices.square().sum((-2, -1))
