"""observe(): one streaming pass over calibration data, and the evidence that it leaves behind."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
import torch.distributed as dist
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

from infoprune.errors import BadArtifact, StaleObservations, UnusableData
from infoprune.estimators.hsic import LEAST_UNBIASED, MinibatchHSIC
from infoprune.estimators.moments import Estimate, GroupedMean
from infoprune.graph.tape import outputs_of
from infoprune.graph.verify import evaluating

Companion = Literal["input", "output", "labels"]

BLOCK = 64  # samples in one Gram matrix: its cost per sample grows with their number
CHUNK = {
    "cpu": 2**18,
    "other": 2**26,
}  # numbers multiplied at once: what stays in a core's cache, or fills a GPU


# ------------------------------------------------------------------------------------------ evidence


@dataclass(frozen=True, eq=False)
class Observations:
    """How much every two layers share, and each with the input, the output and the labels, from minibatches.

    `layers` maps the names of the observed modules to the shapes of their weights; `silent` says why
    others have no evidence. Row i of the HSIC matrices in `statistic` belongs to the i-th layer;
    `companions` follow the layers.
    """

    layers: Mapping[str, tuple[int, ...]]
    silent: Mapping[str, str]
    companions: tuple[Companion, ...]
    statistic: MinibatchHSIC
    samples: int

    def update(self, grams: Tensor) -> Observations:
        """With one more batch, given as the Gram matrices of layers and companions, rows x n x n."""
        return replace(self, statistic=self.statistic.update(grams), samples=self.samples + grams.shape[-1])

    def merge(self, other: Observations) -> Observations:
        """With the batches of `other` after these; equal to having seen all of them here."""
        if (self.layers, self.companions) != (other.layers, other.companions):
            raise StaleObservations("the observations are of different layers; observe() the same model everywhere")
        statistic = self.statistic.merge(other.statistic)
        return replace(self, statistic=statistic, samples=self.samples + other.samples)

    def all_reduce(self, group: dist.ProcessGroup | None = None) -> Observations:
        """Merged over all workers of an initialised process group, in the order of their ranks."""
        found: list[Any] = [None] * dist.get_world_size(group)
        dist.all_gather_object(found, self, group)
        merged = found[0]
        for other in found[1:]:
            merged = merged.merge(other)
        return merged

    def compute(self) -> Estimate:
        """nHSIC between all rows (layers, then companions), with standard errors.

        An error is NaN where a single block of samples carries the evidence.
        """
        self._require_variation(range(len(self.layers) + len(self.companions)))
        return self.statistic.of(nhsic_of)

    def estimate(self, function: Callable[[Tensor], Tensor], rows: Sequence[int]) -> Estimate:
        """A function of these rows' mean HSIC matrix, G x R x R -> G x anything, with its standard error."""
        self._require_variation(rows)
        index = torch.tensor(rows)
        return self.statistic.of(lambda hsic: function(hsic[..., index[:, None], index]))

    def row(self, name: str) -> int:
        """The row of a layer."""
        return list(self.layers).index(name)

    def companion(self, name: Companion) -> int:
        """The row of the input, the output or the labels."""
        if name not in self.companions:
            why = {
                "labels": "the loader gave inputs alone; give (inputs, labels) or use target='output'",
                "input": "the model took no tensor as its first argument",
                "output": "the model gave back no floating point tensor with one entry a sample",
            }
            raise UnusableData(f"nothing was observed of the {name}: {why[name]}")
        return len(self.layers) + self.companions.index(name)

    def require_current(self, model: nn.Module, names: Iterable[str]) -> None:
        """Raise `StaleObservations` unless these layers are as they were when they were observed."""
        modules = dict(model.named_modules())
        for name in names:
            if name not in self.layers and name not in self.silent:
                raise StaleObservations(f"{name} was never observed; observe() the model as it is now")
            if name not in self.layers:
                continue
            seen, now = self.layers[name], _weight_shape(modules[name]) if name in modules else None
            if seen != now:
                raise StaleObservations(
                    f"{name} was observed with a weight of shape {seen} and now has {now}; "
                    "observe() again after pruning"
                )

    def save(self, path: str | Path) -> None:
        """Write everything to one safetensors file."""
        about = {
            "layers": {name: list(shape) for name, shape in self.layers.items()},
            "silent": dict(self.silent),
            "companions": list(self.companions),
            "samples": self.samples,
        }
        save_file(vars(self.statistic.batches), path, {"infoprune.observations": json.dumps(about)})

    @classmethod
    def load(cls, path: str | Path) -> Observations:
        """Read what `save` wrote."""
        try:
            with safe_open(path, "pt") as file:
                about = json.loads((file.metadata() or {})["infoprune.observations"])
                tensors = {name: file.get_tensor(name) for name in ("sums", "weights", "batches")}
            layers = {str(name): tuple(int(n) for n in shape) for name, shape in about["layers"].items()}
            companions = tuple(name for name in get_args(Companion) if name in about["companions"])
            silent = {str(name): str(why) for name, why in about["silent"].items()}
            rows = len(layers) + len(companions)
            groups = len(tensors["weights"])
            shapes = [tuple(t.shape) for t in tensors.values()]
            if shapes != [(groups, rows, rows), (groups,), ()] or len(companions) != len(about["companions"]):
                raise ValueError(f"tensors of shapes {shapes} don't fit {rows} rows")
            return cls(layers, silent, companions, MinibatchHSIC(GroupedMean(**tensors)), int(about["samples"]))
        except (SafetensorError, KeyError, ValueError, TypeError, AttributeError) as error:
            raise BadArtifact(f"{path} does not hold observations ({error}); save them again with .save()") from error

    def __str__(self) -> str:
        batches = int(self.statistic.batches.batches)
        told = f"{len(self.layers)} layers with {', '.join(self.companions)}, "
        told += f"{self.samples} samples in {batches} blocks"
        return told + (f"; {len(self.silent)} layers without evidence" if self.silent else "")

    def _require_variation(self, rows: Sequence[int]) -> None:
        names = [*self.layers, *(f"the {name}" for name in self.companions)]
        size = self.statistic.batches.mean().diagonal()
        constant = [names[row] for row in rows if size[row] <= 0]
        if constant:
            raise UnusableData(
                f"{', '.join(constant[:5])} ({len(constant)} in all) did not vary between samples, so "
                "nHSIC is not defined; give varied samples, and put layers that are dead in ignored_layers"
            )


# ------------------------------------------------------------------------------------------- observe


def observe(
    model: nn.Module,
    loader: Iterable[Any],
    *,
    samples: int | None = None,
    device: torch.device | str | None = None,
    progress: bool = True,
) -> Observations:
    """See once what every layer does with the first `samples` samples of `loader` (all of them by default).

    `loader` gives tensors of inputs, (inputs, labels) pairs, or mappings of keyword arguments (where
    "labels" are the labels); classes are integers, anything else is compared as numbers. Samples should
    come in random order, since the estimate takes every batch as a random draw. The model runs in
    evaluation mode and without gradients, on `device` if given; its modes, gradients, statistics and
    place, and the states of the random number generators, are afterwards what they were, also after an
    interrupt.

    What is kept is the unbiased HSIC between all layers, linear kernel, over blocks of at most 64
    samples. Each layer's Gram matrix is computed once a block, exactly, as the layer runs; no activation
    is stored, so memory does not grow with the number of samples.
    """
    if samples is not None and samples < LEAST_UNBIASED:
        raise UnusableData(f"samples is {samples}; nHSIC needs at least {LEAST_UNBIASED}")
    if not isinstance(loader, Iterable):
        raise TypeError(f"loader is {type(loader).__name__}; pass an iterable of batches, like a DataLoader")
    with _undisturbed(model), _on(model, device) as place, _Watch(model) as watch:
        batches = _enough_at_once(_first(_read(loader), samples))
        bar = tqdm(total=_total(loader, samples), unit="sample", desc="observe", disable=not progress)
        seen: Observations | None = None
        with bar:
            for batch in batches:
                seen = watch.see(batch.to(place), seen)
                bar.update(len(batch))
    if seen is None:
        raise UnusableData("the loader is empty; give at least one batch")
    return seen


@dataclass(frozen=True)
class _Batch:
    """The model's arguments and the labels of n samples."""

    args: tuple
    kwargs: Mapping[str, Any]
    labels: Tensor | None

    @property
    def tensors(self) -> list[Tensor]:
        return [t for t in [*self.args, *self.kwargs.values(), self.labels] if isinstance(t, Tensor)]

    def __len__(self) -> int:
        return len(self.tensors[0])

    def map(self, function: Callable[[Tensor], Tensor]) -> _Batch:
        def each(value: Any) -> Any:
            return function(value) if isinstance(value, Tensor) else value

        args, kwargs = tuple(map(each, self.args)), {name: each(value) for name, value in self.kwargs.items()}
        return _Batch(args, kwargs, each(self.labels))

    def to(self, device: torch.device) -> _Batch:
        return self.map(lambda t: t.to(device, non_blocking=True))

    def joined(self, other: _Batch) -> _Batch:
        rest = iter(other.tensors)
        return self.map(lambda t: torch.cat([t, next(rest)]))


class _Watch:
    """Forward hooks that turn what each layer gives out into Gram matrices while it runs."""

    def __init__(self, model: nn.Module):
        self.model = model
        self.modules = {name: module for name, module in model.named_modules() if _is_layer(module)}
        self.grams: dict[str, list[Tensor]] = {}
        self.silent: dict[str, str] = {}
        self.blocks: list[slice] = []
        self.samples = 0
        self.handles: list[Any] = []

    def __enter__(self) -> _Watch:
        for name, module in self.modules.items():
            self.handles.append(module.register_forward_hook(self._hook(name)))
        return self

    def __exit__(self, *_: Any) -> None:
        for handle in self.handles:
            handle.remove()

    def see(self, batch: _Batch, seen: Observations | None) -> Observations:
        """Run the model on one batch and add what it showed."""
        self.grams, self.samples, self.blocks = {}, len(batch), _blocks(len(batch))
        output = self.model(*batch.args, **batch.kwargs)
        layers, companions = self._layers(), self._companions(batch, output)
        if seen is None:
            seen = self._nothing_yet(layers, tuple(companions))
        missing = [name for name in seen.layers if name not in layers]
        if missing or tuple(companions) != seen.companions:
            what = missing[:3] or sorted(set(companions) ^ set(seen.companions))
            raise UnusableData(f"{what} is not in every batch; give batches that all run the same layers")
        names = [*seen.layers, *companions]
        for block in range(len(self.blocks)):
            grams = [{**layers, **companions}[name][block] for name in names]
            _require_finite(names, grams)
            seen = seen.update(torch.stack([gram.cpu() for gram in grams]))
        return seen

    def _hook(self, name: str) -> Callable[..., None]:
        def note(_: nn.Module, __: Any, output: Any) -> None:
            found = next((t for t in outputs_of(output) if t.is_floating_point()), None)
            features = None if found is None else by_sample(found, self.samples)
            if features is None:
                self.silent[name] = "it gives out nothing with one entry a sample"
                return
            grams = [gram_of(features[block]) for block in self.blocks]
            earlier = self.grams.get(name)
            self.grams[name] = [a + b for a, b in zip(earlier, grams, strict=True)] if earlier else grams

        return note

    def _layers(self) -> dict[str, list[Tensor]]:
        return {name: grams for name, grams in self.grams.items() if name not in self.silent}

    def _companions(self, batch: _Batch, output: Any) -> dict[str, list[Tensor]]:
        whole = [by_sample(t, self.samples) for t in outputs_of(output) if t.is_floating_point()]
        parts = {
            "input": batch.tensors[:1] if batch.args or batch.kwargs else [],
            "output": [t for t in whole if t is not None],
            "labels": [] if batch.labels is None else [batch.labels],
        }
        return {
            name: [sum(similarity(t[block]) for t in tensors) for block in self.blocks]  # type: ignore[misc]
            for name, tensors in parts.items()
            if tensors
        }

    def _nothing_yet(self, layers: Mapping[str, Any], companions: tuple) -> Observations:
        shapes = {name: _weight_shape(self.modules[name]) for name in layers}
        silent = {name: "its module is not called" for name in self.modules if name not in shapes} | self.silent
        return Observations(shapes, silent, companions, MinibatchHSIC.empty(len(shapes) + len(companions)), 0)


# ------------------------------------------------------------------------------------- Gram matrices


def nhsic_of(hsic: Tensor) -> Tensor:
    """HSIC_ij / sqrt(HSIC_ii HSIC_jj) of *batch x rows x rows; NaN for rows that are constant."""
    size = hsic.diagonal(dim1=-2, dim2=-1)
    return hsic / (size.unsqueeze(-1) * size.unsqueeze(-2)).sqrt()


def gram_of(features: Tensor) -> Tensor:
    """K_ij = <x_i - x_0, x_j - x_0> of samples n x d, exact up to rounding, without a copy of them.

    HSIC does not see the shift, which keeps the digits that a common mean would cost and leaves exactly
    zero for what is the same in all samples. Parts that fit in the cache are multiplied in float32 and
    added in float64.
    """
    n, d = features.shape
    wide = features.dtype == torch.float64
    gram = torch.zeros(n, n, dtype=torch.float64, device=features.device)
    step = max(1, CHUNK["cpu" if features.device.type == "cpu" else "other"] // n)
    for part in features.split(step, dim=1) if d else ():
        shifted = (part if wide else part.float()) - part[:1]
        gram += shifted @ shifted.T
    return gram


def similarity(values: Tensor) -> Tensor:
    """Gram matrix of inputs, outputs or labels: the share of equal integers, else the inner product."""
    flat = values.reshape(len(values), -1)
    if flat.is_floating_point():
        return gram_of(flat)
    gram = torch.zeros(len(flat), len(flat), dtype=torch.float64, device=flat.device)
    for column in flat.split(max(1, CHUNK["cpu"] // len(flat) ** 2), dim=1):
        gram += (column[:, None] == column[None]).sum(-1)
    return gram / flat.shape[1]


def by_sample(values: Tensor, n: int) -> Tensor | None:
    """As n x d, features in the order of memory where that saves a copy; None if no axis counts the samples.

    Samples are the first axis, else the second (sequence-first attention), else the first axis holds the
    windows of one sample after the other.
    """
    if values.dim() == 0 or values.numel() == 0:
        return None
    if len(values) != n and values.dim() > 1 and values.shape[1] == n:
        values = values.movedim(1, 0)
    if len(values) % n:
        return None
    if values.dim() == 4 and not values.is_contiguous() and values.is_contiguous(memory_format=torch.channels_last):
        values = values.movedim(1, -1)
    return values.reshape(n, -1)


def _blocks(n: int) -> list[slice]:
    """Parts of nearly equal size, none larger than a Gram matrix should be."""
    count = math.ceil(n / BLOCK)
    edges = [round(i * n / count) for i in range(count + 1)]
    return [slice(a, b) for a, b in pairwise(edges)]


def _require_finite(names: Sequence[str], grams: Sequence[Tensor]) -> None:
    bad = [name for name, gram in zip(names, grams, strict=True) if not bool(gram.isfinite().all())]
    if bad:
        raise UnusableData(f"{bad[0]} gave out NaN or infinite numbers; check the model's weights and the inputs")


def _is_layer(module: nn.Module) -> bool:
    """Whether channels can begin here: convolutions, linear layers, and leaves with a matrix like theirs."""
    if isinstance(module, nn.modules.conv._ConvNd | nn.Linear | nn.MultiheadAttention):
        return True
    weight = module._parameters.get("weight")
    return weight is not None and weight.dim() > 1 and not module._modules


def _weight_shape(module: nn.Module) -> tuple[int, ...]:
    if isinstance(module, nn.MultiheadAttention):
        return (
            3 * module.embed_dim if module.in_proj_weight is None else len(module.in_proj_weight),
            module.embed_dim,
        )
    weight = getattr(module, "weight", None)
    return tuple(weight.shape) if isinstance(weight, Tensor) else ()


# ------------------------------------------------------------------------------------------- batches


def _read(loader: Iterable[Any]) -> Iterator[_Batch]:
    for batch in loader:
        found = _batch_of(batch)
        if not found.tensors or not (found.args or found.kwargs):
            raise UnusableData(f"a batch is {type(batch).__name__} without tensors; give tensors or (inputs, labels)")
        sizes = {len(t) if t.dim() else 0 for t in found.tensors}
        if len(sizes) > 1 or 0 in sizes:
            shapes = [tuple(t.shape) for t in found.tensors]
            raise UnusableData(f"a batch holds tensors of shapes {shapes}; the first axis of each counts the samples")
        yield found


def arguments_of(loader: Iterable[Any], samples: int | None) -> Iterator[tuple]:
    """The positional arguments for the model in the first `samples` samples, batch by batch."""
    for batch in _enough_at_once(_first(_read(loader), samples)):
        if batch.kwargs:
            raise UnusableData(f"a batch names its inputs {sorted(batch.kwargs)}; give (inputs, labels) batches")
        yield batch.args


def _batch_of(batch: Any) -> _Batch:
    if isinstance(batch, Mapping):
        kwargs = {name: value for name, value in batch.items() if name not in ("labels", "label")}
        return _Batch((), kwargs, _as_labels(batch.get("labels", batch.get("label"))))
    if not isinstance(batch, tuple | list):
        return _Batch((batch,), {}, None)
    if len(batch) == 0:
        return _Batch((), {}, None)
    inputs = tuple(batch[0]) if isinstance(batch[0], tuple | list) else (batch[0],)
    return _Batch(inputs, {}, _as_labels(batch[1]) if len(batch) > 1 else None)


def _as_labels(labels: Any) -> Tensor | None:
    if labels is None or isinstance(labels, Tensor):
        return labels
    try:
        return torch.as_tensor(labels)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UnusableData(f"labels are {type(labels).__name__}; give one tensor with an entry a sample") from error


def _first(batches: Iterator[_Batch], samples: int | None) -> Iterator[_Batch]:
    left = math.inf if samples is None else samples
    for batch in batches:
        yield batch if len(batch) <= left else batch.map(lambda t: t[: int(left)])  # noqa: B023 - used at once
        left -= len(batch)
        if left <= 0:
            return


def _enough_at_once(batches: Iterator[_Batch]) -> Iterator[_Batch]:
    """The same samples in batches large enough for an unbiased estimate: small ones join their neighbours."""
    ready: _Batch | None = None
    small: _Batch | None = None
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
        raise UnusableData(f"the loader gave {len(last)} sample(s); nHSIC needs at least {LEAST_UNBIASED}")
    yield last


def _total(loader: Any, samples: int | None) -> int | None:
    size = getattr(getattr(loader, "dataset", None), "__len__", lambda: None)()
    return samples if size is None else size if samples is None else min(size, samples)


# --------------------------------------------------------------------------- leaving things as found


@contextmanager
def _undisturbed(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, no gradients; modes and random number generators as before afterwards."""
    with ExitStack() as stack:
        stack.enter_context(kept_randomness())
        stack.enter_context(evaluating(model))
        stack.enter_context(torch.no_grad())
        yield


@contextmanager
def kept_randomness() -> Iterator[None]:
    """The global generators of torch, numpy and Python are afterwards where they were."""
    state, legacy = random.getstate(), np.random.get_state()
    cuda = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(cuda):
        try:
            yield
        finally:
            random.setstate(state)
            np.random.set_state(legacy)


@contextmanager
def _on(model: nn.Module, device: torch.device | str | None) -> Iterator[torch.device]:
    """The model on `device` for a while; without one, where it is."""
    tensor = next((t for t in [*model.parameters(), *model.buffers()]), None)
    home = torch.device("cpu") if tensor is None else tensor.device
    place = home if device is None else present(device)
    if place == home:
        yield place
        return
    try:
        yield _moved(model, place)
    finally:
        model.to(home)


def _moved(model: nn.Module, place: torch.device) -> torch.device:
    model.to(place)
    return place


def present(device: torch.device | str) -> torch.device:
    """The device, or `UnusableData` when this machine lacks it."""
    try:
        place = torch.device(device)
        torch.zeros(1, device=place).item()
    except Exception as error:  # each backend has its own way of not being there
        first = str(error).splitlines()[0]
        raise UnusableData(
            f"device {str(device)!r} cannot be used here ({first}); leave it out to stay where the model is"
        ) from error
    return torch.zeros(1, device=place).device
