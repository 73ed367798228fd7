"""Layer importance from the dependence between layers, input and labels (the pruning paper's eqs. 2-9)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from infoprune.estimators.hsic import nhsic_of
from infoprune.estimators.moments import Estimate
from infoprune.graph import Graph
from infoprune.layerwise.base import LayerImportance, Written, written
from infoprune.layerwise.uniform import layerwise
from infoprune.observe import Observations, observe
from infoprune.observe.observations import Kernel

Word = TypeVar("Word", bound=str)
Scale = Literal["shares", "printed"]
Target = Literal["labels", "output"]


@layerwise.register("nhsic")
def nhsic(seen: Observations, *, beta: float = 1.0, scale: Scale = "shares") -> LayerImportance:
    """Eq. 9: what shares much with other layers matters little, i_l = exp(-beta sum_{j≠l} nHSIC(X_l, X_j)).

    A site weighs the sum of i_l over the layers that write to it, and the sum over j runs over all layers
    that write to a site. "printed" gives these weights, which fall like exp(-beta L) with the number of
    layers L; "shares" divides them by their total, so that weights add up to one and none underflows.
    Both lead to the same plan.
    """
    return Redundancy(seen, _checked("beta", beta), _one_of("scale", scale, "shares", "printed"))


@layerwise.register("nhsic_printed")
def nhsic_printed(
    model: nn.Module,
    loader: Iterable[Any],
    *,
    kernel: Kernel = "linear",
    beta: float = 1.0,
    scale: Scale = "shares",
    samples: int | None = None,
    progress: bool = True,
) -> LayerImportance:
    """`nhsic` of what `observe(model, loader, printed=kernel)` sees: Algorithm 1 of the strategy paper, lines 1 to 3.

    HSIC is biased, over n samples at once, of the maps behind the activations; `nhsic` takes the unbiased one of
    layers' own outputs from minibatches.

    Args:
        model: The network.
        loader: Gives what its forward takes.
        kernel: "linear", or "gaussian" at the median distance.
        beta: As in `nhsic`.
        scale: As in `nhsic`.
        samples: How many samples are read; all by default.
        progress: Show how far it has come.
    """
    seen = observe(model, loader, samples=samples, progress=progress, printed=kernel)
    return nhsic(seen, beta=beta, scale=scale)


@layerwise.register("nhsic_relevance")
def nhsic_relevance(seen: Observations, *, target: Target = "labels") -> LayerImportance:
    """nHSIC of each layer with the labels or with the network's output: the term of eq. 2 that eq. 4 drops.

    A site weighs the sum over the layers that write to it. An estimate below its own standard error
    cannot be told from zero and counts as that error, so that noise alone starves no site.
    """
    target = _one_of("target", target, "labels", "output")
    seen.companion(target)
    return Relevance(seen, target)


@layerwise.register("bottleneck")
def bottleneck(
    seen: Observations,
    *,
    beta: float | None = None,
    relevance: float = 1.0,
    target: Target = "labels",
    scale: Scale = "shares",
) -> LayerImportance:
    """The whole of eq. 3, turned into weights as eq. 9 turns eq. 4:

        i_l = exp(-beta sum_{j != l} (nHSIC(X, X_l) + nHSIC(X_j, X_l) - relevance nHSIC(X_l, Y)))

    X is the input, Y the labels or the network's output.

    Args:
        seen: What `observe` saw.
        beta: By default 1 / (L - 1), so that the sum over the L layers becomes a mean and the weights of deep networks
            stay comparable.
        relevance: How much what a layer says of Y counts against what it repeats.
        target: "labels" or "output": which of them is Y.
        scale: "shares", which add up to one, or "printed", the numbers of the formula.
    """
    beta = beta if beta is None else _checked("beta", beta)
    relevance, scale = _checked("relevance", relevance), _one_of("scale", scale, "shares", "printed")
    seen.companion("input")
    seen.companion(_one_of("target", target, "labels", "output"))
    return Bottleneck(seen, beta, relevance, target, scale)


@dataclass(frozen=True)
class Redundancy(LayerImportance):
    """`nhsic` with its evidence."""

    seen: Observations = field(repr=False)
    beta: float = 1.0
    scale: Scale = "shares"

    def estimate(self, graph: Graph) -> Estimate:
        layers = written(self.seen, graph)

        def weights(hsic: Tensor) -> Tensor:
            return _scaled(-self.beta * _with_others(nhsic_of(hsic)), layers, self.scale)

        return self.seen.estimate(weights, layers.rows)


@dataclass(frozen=True)
class Relevance(LayerImportance):
    """`nhsic_relevance` with its evidence."""

    seen: Observations = field(repr=False)
    target: Target = "labels"

    def estimate(self, graph: Graph) -> Estimate:
        layers = written(self.seen, graph)
        rows = [*layers.rows, self.seen.companion(self.target)]
        estimate = self.seen.estimate(lambda hsic: layers.per_site(nhsic_of(hsic)[..., :-1, -1]), rows)
        return Estimate(torch.fmax(estimate.value, estimate.standard_error).clamp(min=0), estimate.standard_error)


@dataclass(frozen=True)
class Bottleneck(LayerImportance):
    """`bottleneck` with its evidence."""

    seen: Observations = field(repr=False)
    beta: float | None = None
    relevance: float = 1.0
    target: Target = "labels"
    scale: Scale = "shares"

    def estimate(self, graph: Graph) -> Estimate:
        layers = written(self.seen, graph)
        others = len(layers.rows) - 1
        beta = 1 / others if self.beta is None else self.beta
        rows = [*layers.rows, self.seen.companion("input"), self.seen.companion(self.target)]

        def weights(hsic: Tensor) -> Tensor:
            nhsic = nhsic_of(hsic)
            between, with_input, with_target = nhsic[..., :-2, :-2], nhsic[..., :-2, -2], nhsic[..., :-2, -1]
            exponent = _with_others(between) + others * (with_input - self.relevance * with_target)
            return _scaled(-beta * exponent, layers, self.scale)

        return self.seen.estimate(weights, rows)


def _with_others(nhsic_matrix: Tensor) -> Tensor:
    """sum_{j != l} nHSIC(X_l, X_j) of *batch x L x L."""
    return nhsic_matrix.sum(-1) - nhsic_matrix.diagonal(dim1=-2, dim2=-1)


def _scaled(exponents: Tensor, layers: Written, scale: Scale) -> Tensor:
    """Site weights from the logarithms of layer weights."""
    if scale == "printed":
        return layers.per_site(exponents.exp())
    weights = layers.per_site(exponents.softmax(-1))
    return weights / weights.sum(-1, keepdim=True)


def _checked(name: str, value: float) -> float:
    if not (isinstance(value, float | int) and math.isfinite(value) and value >= 0):
        raise ValueError(f"{name} is {value!r}; give a finite number that is not negative")
    return float(value)


def _one_of(name: str, value: Word, *allowed: str) -> Word:
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}; give one of {', '.join(map(repr, allowed))}")
    return value
