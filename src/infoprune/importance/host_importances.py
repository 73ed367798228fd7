"""torch-pruning's own importances by name, for recipes and the command, with the gradients that some of them read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import torch
import torch.nn.functional as F
import torch_pruning as tp
from torch import Tensor, nn

from infoprune.errors import UnknownName, UnusableData
from infoprune.graph.arguments import Arguments
from infoprune.graph.evaluating import evaluating
from infoprune.importance.base import About, importances
from infoprune.observe import batches
from infoprune.registry import nearest

of_host: dict[str, Callable[..., Any]] = {}
Factory = TypeVar("Factory", bound=Callable[..., Any])
Merging = Literal["sum", "mean", "max", "prod", "first"]
Scaling = Literal["sum", "standarization", "mean", "max", "gaussian"] | None


class AllRankings(Mapping[str, Callable[..., Any]]):
    """Every importance that has a name: ours and the host's."""

    def __getitem__(self, name: str) -> Callable[..., Any]:
        for registry in (importances, of_host):
            if name in registry:
                return registry[name]
        raise UnknownName(f"there is no importance {name!r}; {nearest(name, list(self))}")

    def __iter__(self) -> Iterator[str]:
        return iter(sorted([*importances, *of_host]))

    def __len__(self) -> int:
        return len(importances) + len(of_host)


rankings = AllRankings()


def _named(name: str, cost: str, *, needs_data: bool = False) -> Callable[[Factory], Factory]:
    def file(factory: Factory) -> Factory:
        factory.about = About("torch-pruning", cost, needs_data)
        of_host[name] = factory
        return factory

    return file


def _host(kind: Callable[..., Any], **options: Any) -> Any:
    """The host says of some options that they are texts, and takes None."""
    return kind(**options)


@_named("l1", "one pass over the weights")
def l1(*, group_reduction: Merging = "mean", normalizer: Scaling = "mean") -> Any:
    """Sum of absolute weights."""
    return _host(tp.importance.MagnitudeImportance, p=1, group_reduction=group_reduction, normalizer=normalizer)


@_named("l2", "one pass over the weights")
def l2(*, group_reduction: Merging = "mean", normalizer: Scaling = "mean") -> Any:
    """Sum of squared weights."""
    return _host(tp.importance.MagnitudeImportance, p=2, group_reduction=group_reduction, normalizer=normalizer)


@_named("lamp", "one sort of the weights' norms")
def lamp(*, p: int = 2, group_reduction: Merging = "mean") -> Any:
    """Squared norms, each over the sum of those at least as large (Lee et al. 2021)."""
    return tp.importance.LAMPImportance(p=p, group_reduction=group_reduction)


@_named("fpgm", "filters^2 x weights of a filter")
def fpgm(*, p: int = 2, group_reduction: Merging = "mean", normalizer: Scaling = "mean") -> Any:
    """Distance from the other filters (He et al. 2019)."""
    return _host(tp.importance.FPGMImportance, p=p, group_reduction=group_reduction, normalizer=normalizer)


@_named("bn_scale", "none")
def bn_scale(*, group_reduction: Merging = "mean", normalizer: Scaling = "mean") -> Any:
    """Scales of batch norms (Liu et al. 2017)."""
    return _host(tp.importance.BNScaleImportance, group_reduction=group_reduction, normalizer=normalizer)


@_named("taylor", "one pass over data, with gradients", needs_data=True)
def taylor(
    model: nn.Module, loader: Iterable[Any], *, group_reduction: Merging = "mean", normalizer: Scaling = "mean"
) -> Any:
    """First-order change of the cross entropy with the labels (Molchanov et al. 2019)."""
    host = _host(tp.importance.TaylorImportance, group_reduction=group_reduction, normalizer=normalizer)
    return WithGradients(host, model, gradients_of(model, loader))


@dataclass(frozen=True)
class WithGradients:
    """A host importance whose parameters hold these gradients while it is asked, and their own ones otherwise."""

    importance: Any
    model: nn.Module = field(repr=False)
    gradients: Mapping[str, Tensor] = field(repr=False)

    def __call__(self, group: Any) -> Tensor | None:
        with _held(self.model, self.gradients):
            return self.importance(group)


def gradients_of(model: nn.Module, loader: Iterable[Any]) -> dict[str, Tensor]:
    """Of the cross entropy of the model's logits with the labels, summed over batches; the model is left as it was."""
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    totals = [torch.zeros_like(parameter) for parameter in parameters]
    seen = 0
    with evaluating(model), torch.enable_grad():
        for batch in batches.read(loader):
            if batch.labels is None or batch.labels.is_floating_point():
                raise UnusableData(
                    "taylor looks at class labels, which these data have none of; use another importance"
                )
            batch = batch.to(next(model.parameters()).device)
            labels: Any = batch.labels
            logits = Arguments(batch.args, batch.kwargs).run(model)
            loss = F.cross_entropy(logits, labels, reduction="sum")
            for total, gradient in zip(totals, torch.autograd.grad(loss, parameters, allow_unused=True), strict=True):
                if gradient is not None:
                    total += gradient
            seen += len(batch)
    if not seen:
        raise UnusableData("the loader is empty; give at least one batch")
    return {name: total / seen for name, total in zip(names, totals, strict=True)}


@contextmanager
def _held(model: nn.Module, gradients: Mapping[str, Tensor]) -> Iterator[None]:
    parameters = dict(model.named_parameters())
    before = {name: parameter.grad for name, parameter in parameters.items()}
    try:
        for name, gradient in gradients.items():
            parameters[name].grad = gradient
        yield
    finally:
        for name, gradient in before.items():
            parameters[name].grad = gradient
