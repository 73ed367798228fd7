"""Passes over pictures with hooks on layers: who is called, what readers read, how far their answers are off."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from infoprune.compensation.pictures import Fold, Pictures
from infoprune.compensation.readers import Reader, channel_axis
from infoprune.errors import UnusableData, first_line
from infoprune.estimators.covariance import Comoments
from infoprune.graph.hooks import hooked
from infoprune.observe.batches import Batch
from infoprune.observe.reader_layers import samples_of
from infoprune.processes import over_processes

Norm = nn.modules.batchnorm._BatchNorm


def run(model: nn.Module, batch: Batch) -> Any:
    """The model's output, or UnusableData where it can't take the batch."""
    try:
        return model(*batch.args, **batch.kwargs)
    except (RuntimeError, ValueError, TypeError, AssertionError, IndexError) as error:
        shapes = [tuple(t.shape) for t in batch.tensors]
        raise UnusableData(
            f"the model can't run on a batch of shapes {shapes} ({first_line(error)}); give the loader inputs of "
            "the size and kind that the model takes"
        ) from error


def noting(
    layers: Mapping[str, nn.Module], note: Callable[[str, Tensor, Tensor], None]
) -> AbstractContextManager[None]:
    """While this lasts, `note` gets name, input and output of every call of these layers."""

    def hook(name: str) -> Callable[..., None]:
        def watch(_: nn.Module, args: tuple, kwargs: dict, output: Any) -> None:
            inputs = [t for t in (*args, *kwargs.values()) if isinstance(t, Tensor)]
            if inputs and isinstance(output, Tensor):
                note(name, inputs[0], output)

        return watch

    return hooked(layer.register_forward_hook(hook(name), with_kwargs=True) for name, layer in layers.items())


# ------------------------------------------------------------------------------------------------- who is called


Calls = Mapping[str, Sequence[tuple[Tensor, Tensor]]]  # name -> input and output of every call


def calls_in(dense: nn.Module, names: Iterable[str], pictures: Pictures) -> Calls:
    """Every call of these layers, and of the batch norms, for one sample, in the order of the first calls."""
    modules = dict(dense.named_modules())
    calls: dict[str, list[tuple[Tensor, Tensor]]] = defaultdict(list)
    with noting(_norms(dense) | {name: modules[name] for name in names}, lambda name, x, y: calls[name].append((x, y))):
        for _, batch in pictures.parts(("first", "second", "held out"), "find readers"):
            run(dense, batch.map(lambda t: t[:1]))  # all that any layer reads of it is held at once
            break
    return dict(calls)


def called(dense: nn.Module, readers: Sequence[Reader], calls: Calls) -> tuple[list[Reader], list[str]]:
    """The readers that ran, in their order, each with the batch norm right behind it; and those that didn't.

    Such a norm reads what one reader gave out in its only call, and nothing else.
    """
    behind = {}
    for norm in (norm for norm in _norms(dense) if norm in calls):
        sources = [r.name for r in readers for _, y in calls.get(r.name, ()) if any(x is y for x, _ in calls[norm])]
        if len(calls[norm]) == 1 and len(sources) == 1 and len(calls[sources[0]]) == 1:
            behind[sources[0]] = norm
    order = list(calls)
    ran = [
        replace(r, norm=None if r.bias is not None else behind.get(r.name), calls=len(calls[r.name]))
        for r in sorted((r for r in readers if r.name in calls), key=lambda r: order.index(r.name))
    ]
    return ran, [r.name for r in readers if r.name not in calls]


def _norms(model: nn.Module) -> dict[str, nn.Module]:
    return {n: m for n, m in model.named_modules() if isinstance(m, Norm) and m.running_mean is not None}


# ------------------------------------------------------------------------------------------------ what they read


@dataclass
class MeanInput:
    """What a layer reads on average: of a convolution a map (of every size), since borders read less."""

    maps: dict[tuple[int, ...], tuple[Tensor, int]] = field(default_factory=dict)

    def note(self, layer: nn.Module, x: Tensor) -> None:
        spatial = x.dim() - channel_axis(layer, x)
        flat = x.reshape(-1, *x.shape[-spatial:])
        total, count = self.maps.get(flat.shape[1:], (0, 0))
        self.maps[flat.shape[1:]] = (total + flat.sum(0).double(), count + len(flat))

    def __add__(self, other: MeanInput) -> MeanInput:
        both = dict(self.maps)
        for shape, (total, count) in other.maps.items():
            mine, seen = both.get(shape, (0, 0))
            both[shape] = (mine + total, seen + count)
        return MeanInput(both)

    def mean(self, function: Callable[[Tensor], Tensor]) -> Tensor:
        """Mean over samples and places of an affine function's outputs, channel by channel."""
        sums, places = torch.zeros(()), 0
        for total, count in self.maps.values():
            out = function((total / count)[None])[0]
            out = out.flatten(1) if out.dim() > 1 else out[:, None]
            sums, places = sums.to(out) + count * out.sum(1), places + count * out.shape[1]
        return sums / places


@dataclass
class Evidence:
    """What a reader read in the dense network: moments of two halves of the samples, and its mean input."""

    halves: Mapping[Fold, Comoments]
    input: MeanInput

    def __add__(self, other: Evidence) -> Evidence:
        return Evidence(
            {part: seen + other.halves[part] for part, seen in self.halves.items()}, self.input + other.input
        )

    def note(self, reader: Reader, part: Fold, x: Tensor, z: Tensor, seed: int) -> None:
        self.halves[part].add_(*(samples_of(reader.layer, t, reader.pixels, seed) for t in (x, z)))
        self.input.note(reader.layer, x)


def evidence(dense: nn.Module, readers: Sequence[Reader], pictures: Pictures) -> dict[str, Evidence]:
    """One pass of the dense network over both halves."""
    by_name, modules = {reader.name: reader for reader in readers}, dict(dense.named_modules())
    by_reader = {name: _nothing(reader, pictures.device) for name, reader in by_name.items()}
    for part, batch in pictures.parts(("first", "second"), "moments"):

        def note(name: str, x: Tensor, _: Tensor, part: Fold = part, seed: int = batch.place) -> None:
            reader = by_name[name]
            by_reader[name].note(reader, part, x, reader.selected(x), seed)

        with noting({name: modules[name] for name in by_name}, note):
            run(dense, batch)
    by_reader = {name: over_processes(seen) for name, seen in by_reader.items()}
    for name, seen in by_reader.items():
        require_finite(name, *seen.halves.values())
    return by_reader


def _nothing(reader: Reader, device: torch.device) -> Evidence:
    groups, _, _, columns = reader.target.shape
    shape = (groups, columns, reader.kept.shape[1])
    halves: dict[Fold, Comoments] = {part: Comoments.empty(*shape, device=device) for part in ("first", "second")}
    return Evidence(halves, MeanInput())


def require_finite(name: str, *moments: Comoments) -> None:
    if not all(bool(seen.xz.sum().isfinite()) for seen in moments):
        raise not_finite(name)


def not_finite(name: str) -> UnusableData:
    return UnusableData(f"{name} read NaN or infinite numbers; check the pictures and the dense model's weights")
