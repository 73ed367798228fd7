"""What loaders give, read as arguments and labels of n samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from infoprune.errors import UnusableData
from infoprune.estimators.hsic import LEAST_UNBIASED
from infoprune.graph.arguments import Arguments


@dataclass(frozen=True)
class Batch:
    """The model's arguments and the labels of n samples; `place` is the number of the first, where somebody counts."""

    args: tuple
    kwargs: Mapping[str, Any]
    labels: Tensor | None
    place: int = 0

    @property
    def inputs(self) -> list[Tensor]:
        return [t for t in [*self.args, *self.kwargs.values()] if isinstance(t, Tensor)]

    @property
    def tensors(self) -> list[Tensor]:
        return self.inputs if self.labels is None else [*self.inputs, self.labels]

    def __len__(self) -> int:
        return len(self.tensors[0])

    def map(self, function: Callable[[Tensor], Tensor]) -> Batch:
        def each(value: Any) -> Any:
            return function(value) if isinstance(value, Tensor) else value

        args, kwargs = tuple(map(each, self.args)), {name: each(value) for name, value in self.kwargs.items()}
        return replace(self, args=args, kwargs=kwargs, labels=each(self.labels))

    def to(self, device: torch.device) -> Batch:
        return self.map(lambda t: t.to(device, non_blocking=True))

    def joined(self, other: Batch) -> Batch:
        rest = iter(other.tensors)
        return self.map(lambda t: torch.cat([t, next(rest)]))


def read(loader: Iterable[Any]) -> Iterator[Batch]:
    for raw in loader:
        batch = _batch_of(raw)
        if not batch.tensors or not (batch.args or batch.kwargs):
            raise UnusableData(f"a batch is {type(raw).__name__} without tensors; give tensors or (inputs, labels)")
        sizes = {len(t) if t.dim() else 0 for t in batch.tensors}
        if len(sizes) > 1 or 0 in sizes:
            shapes = [tuple(t.shape) for t in batch.tensors]
            raise UnusableData(f"a batch holds tensors of shapes {shapes}; the first axis of each counts the samples")
        yield batch


def arguments_of(loader: Iterable[Any], samples: int | None) -> Iterator[Arguments]:
    """What the model is called with in the first `samples` samples, batch by batch."""
    for batch in enough_at_once(first(read(loader), samples)):
        yield Arguments(batch.args, batch.kwargs)


def _batch_of(batch: Any) -> Batch:
    if isinstance(batch, Mapping):
        kwargs = {name: value for name, value in batch.items() if name not in ("labels", "label")}
        return Batch((), kwargs, _as_labels(batch.get("labels", batch.get("label"))))
    if not isinstance(batch, tuple | list):
        return Batch((batch,), {}, None)
    if len(batch) == 0:
        return Batch((), {}, None)
    inputs = tuple(batch[0]) if isinstance(batch[0], tuple | list) else (batch[0],)
    return Batch(inputs, {}, _as_labels(batch[1]) if len(batch) > 1 else None)


def _as_labels(labels: Any) -> Tensor | None:
    if labels is None or isinstance(labels, Tensor):
        return labels
    try:
        return torch.as_tensor(labels)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UnusableData(f"labels are {type(labels).__name__}; give one tensor with an entry a sample") from error


def first(batches: Iterator[Batch], samples: int | None) -> Iterator[Batch]:
    if samples is not None and samples < 1:
        raise ValueError(f"samples is {samples}; give at least 1, or None for all that there are")
    left = math.inf if samples is None else samples
    for batch in batches:
        yield batch if len(batch) <= left else batch.map(lambda t: t[: int(left)])  # noqa: B023 - used at once
        left -= len(batch)
        if left <= 0:
            return


def enough_at_once(batches: Iterator[Batch]) -> Iterator[Batch]:
    """The same samples in batches large enough for an unbiased estimate: small ones join their neighbours."""
    ready: Batch | None = None
    small: Batch | None = None
    for batch in batches:
        small = batch if small is None else small.joined(batch)
        if len(small) < LEAST_UNBIASED:
            continue
        if ready is not None:
            yield ready
        ready, small = small, None
    if ready is None and small is None:
        return
    last = ready.joined(small) if ready and small else ready or small
    assert last is not None
    if len(last) < LEAST_UNBIASED:
        raise UnusableData(f"the loader gave {len(last)} sample(s); give at least {LEAST_UNBIASED}")
    yield last


def total_of(loader: Any, samples: int | None) -> int | None:
    size = getattr(getattr(loader, "dataset", None), "__len__", lambda: None)()
    return samples if size is None else size if samples is None else min(size, samples)
