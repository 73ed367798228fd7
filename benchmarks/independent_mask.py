"""Whether a pruned network computes what its dense network computes once the removed entries are zero.

Written apart from the library, of whose certificate it is the judge: it is given a dense and a pruned module and knows
neither plan nor sites nor labels. What was removed is found by value, since all entries of the dense tensors differ.

    dense = distinct(make())                 # double precision, no two entries alike
    pruned = prune(copy.deepcopy(dense))
    compared = compare(dense, pruned, inputs)
    assert compared.relative < 1e-9

Norms over channels are other functions of fewer channels. Modules whose class is called a norm take their statistics
over the kept channels in the masked network too, each by a narrowed copy of the dense norm; `redone` names the classes.
Statistics that a network's own code takes are not redone: the comparison then tells their effect.
"""

from __future__ import annotations

import copy
import dataclasses
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

NORMS, NOT_NORMS = ("norm", "grn"), ("batchnorm", "instancenorm", "localresponse")
DIRECTIONS = ("weight_v", "parametrizations.weight.original1")  # of weight norms
WIDER = {torch.float32: torch.float64, torch.complex64: torch.complex128}


@dataclass(frozen=True)
class Compared:
    """`relative` is the largest |difference| of an output over its largest value, of `outputs` tensors; the networks'
    outputs reach `scale`."""

    relative: float
    scale: float
    outputs: int
    redone: tuple[str, ...] = ()


class NotComparable(Exception):
    """The two networks can't be set beside each other by this check; the message says why."""


class ShapesDiffer(Exception):
    """The pruned network gives out tensors of other shapes, or other numbers of them."""


# ------------------------------------------------------------------------------------------ the weights


def distinct(model: nn.Module, seed: int = 0) -> nn.Module:
    """The model in double precision and evaluation mode, with weights of which no two are alike; in place.

    They stay near what the model's own code made of them, except that matrices gain less than one are scaled up, so
    that attention and deep layers are not next to constant, and constants are spread out.
    """
    generator = torch.Generator().manual_seed(seed)
    model.double().eval()
    seen: set[int] = set()
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *_running(model)]:
            if id(tensor) not in seen and tensor.is_floating_point():
                seen.add(id(tensor))
                tensor.copy_(_spread(name, tensor, generator))
    return model


def _running(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in model.named_buffers():
        if name.rpartition(".")[2] in ("running_mean", "running_var"):
            yield name, tensor


def _spread(name: str, tensor: Tensor, generator: torch.Generator) -> Tensor:
    noise = torch.rand(tensor.shape, generator=generator, dtype=torch.float64).to(tensor.device) * 2 - 1
    if tensor.numel() < 2:
        return tensor
    deviation, middle = float(tensor.std()), float(tensor.mean())
    fan_in = tensor.numel() // tensor.shape[0]
    if deviation < 1e-6 * max(abs(middle), 1e-6):  # a constant
        width = 0.3 * abs(middle) if middle else (fan_in**-0.5 if tensor.dim() > 1 else 0.2)
        return tensor + width * noise
    gain = max(1.0, fan_in**-0.5 / deviation) if tensor.dim() > 1 else 1.0
    return gain * (tensor + 0.1 * deviation * noise)


# ------------------------------------------------------------------------------------------ the masking


def masked(dense: nn.Module, pruned: nn.Module) -> tuple[nn.Module, tuple[str, ...]]:
    """A copy of `dense` with zeros where `pruned` has nothing, and the classes of norms that were narrowed in it."""
    small = {**_tensors(pruned)}
    original = _tensors(dense)
    parameters = dict(dense.named_parameters(remove_duplicate=False))
    there = {name: tensor for name, tensor in original.items() if name in small or name in parameters}
    kept = {name: _kept(name, tensor, small.get(name)) for name, tensor in there.items()}
    copied = copy.deepcopy(dense)
    with torch.no_grad():
        for name, tensor in _tensors(copied).items():
            if kept.get(name) is not None:  # a buffer that only one of them has is a cache
                tensor.mul_(kept[name])
            if name.endswith(DIRECTIONS):  # a filter of zeros has none, and its gain is zero as well
                tensor[(tensor == 0).flatten(1).all(1)] = 1.0
    return copied, _narrow_norms(copied, pruned, kept)


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    named = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    return {name: tensor.detach() for name, tensor in named if tensor.is_floating_point()}


def _kept(name: str, tensor: Tensor, small: Tensor | None) -> Tensor | None:
    """Which entries are in the pruned tensor as well; None where all are, or where values can't tell."""
    if small is None:
        return torch.zeros_like(tensor, dtype=torch.bool)
    if small.shape == tensor.shape:
        if not torch.equal(small, tensor):
            raise NotComparable(f"{name} has its old shape and other values")
        return None
    if tensor.unique().numel() < tensor.numel():
        return _kept_slices(tensor, small)
    found = torch.isin(tensor, small)
    if int(found.sum()) != small.numel():
        raise NotComparable(f"{name} holds {small.numel()} values, of which {int(found.sum())} are in the dense model")
    return found


def _kept_slices(tensor: Tensor, small: Tensor) -> Tensor | None:
    """Of a table that was not drawn at random: which slices along the one axis that is shorter.

    None where slices are alike; what such a table adds to a channel that left is read by zeros.
    """
    axes = [d for d in range(tensor.dim()) if tensor.dim() == small.dim() and tensor.shape[d] != small.shape[d]]
    if len(axes) != 1:
        return None
    slices, left = (t.movedim(axes[0], 0).reshape(t.shape[axes[0]], -1) for t in (tensor, small))
    if len(slices.unique(dim=0)) < len(slices):
        return None
    found = (slices[:, None] == left[None]).all(2).any(1)
    shape = [-1 if d == axes[0] else 1 for d in range(tensor.dim())]
    return found.view(shape).expand(tensor.shape)


# ------------------------------------------------------------------------------------------ norms over channels


def _narrow_norms(copied: nn.Module, pruned: nn.Module, kept: Mapping[str, Tensor | None]) -> tuple[str, ...]:
    redone = []
    others = dict(pruned.named_modules())
    for name, module in list(copied.named_modules()):
        lowered = type(module).__name__.lower()
        if (
            not any(word in lowered for word in NORMS)
            or any(word in lowered for word in NOT_NORMS)
            or any(module.children())
        ):
            continue
        if _narrow(module, others.get(name), name, kept):
            redone.append(type(module).__name__)
    return tuple(sorted(set(redone)))


def _narrow(module: nn.Module, other: nn.Module | None, name: str, kept: Mapping[str, Tensor | None]) -> bool:
    """Let a norm of n channels run on the kept ones alone; False if it kept them all."""
    for own, vector in module.named_parameters(recurse=False):
        found = kept.get(f"{name}.{own}".lstrip("."))
        if found is not None and vector.numel() == max(vector.shape):
            index = found.flatten().nonzero().flatten()
            _run_on(module, lambda x, axis, index=index: index, vector.numel(), len(index))
            return True
    before, after = (getattr(m, "normalized_shape", None) for m in (module, other))
    if before is None or before == after or after is None:
        return False
    _run_on(module, lambda x, axis: _not_zero(x, axis, int(after[0])), int(before[0]), int(after[0]))
    return True


def _not_zero(x: Tensor, axis: int, expected: int) -> Tensor:
    index = (x != 0).movedim(axis, 0).flatten(1).any(1).nonzero().flatten()
    if len(index) != expected:
        raise NotComparable(f"a norm without weights keeps {expected} channels, and {len(index)} are not zero")
    return index


def _run_on(module: nn.Module, index_of: Any, width: int, left: int) -> None:
    """From now on `module` sees `left` of its `width` channels and gives zeros for the others."""
    small: list[nn.Module] = []
    whole = copy.deepcopy(module)

    def forward(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        axis = _channel_axis(whole, x, width)
        index = index_of(x, axis)
        if not small:
            small.append(_narrowed(whole, index, width))
        args = tuple(a.index_select(axis, index) if isinstance(a, Tensor) and a.shape == x.shape else a for a in args)
        out = small[0](x.index_select(axis, index).contiguous(), *args, **kwargs)
        return out.new_zeros(x.shape).index_copy_(axis, index, out)

    module.forward = forward  # type: ignore[method-assign]


def _channel_axis(module: nn.Module, x: Tensor, width: int) -> int:
    shapes = [p.shape for p in module.parameters(recurse=False) if p.dim() == x.dim()]
    along = [axis for shape in shapes for axis, size in enumerate(shape) if size > 1]
    if along:
        return along[0]  # the weights say it themselves
    first = "2d" in type(module).__name__.lower() or getattr(module, "data_format", "") == "channels_first"
    if isinstance(module, nn.GroupNorm) or (first and x.dim() > 2) or x.shape[-1] != width:
        return 1
    return x.dim() - 1


def _narrowed(module: nn.Module, index: Tensor, width: int) -> nn.Module:
    """The same norm with these channels alone."""
    small = copy.deepcopy(module)
    for own, vector in list(module.named_parameters(recurse=False)):
        if vector.numel() == width:
            axis = max(range(vector.dim()), key=lambda d: vector.shape[d])
            setattr(small, own, nn.Parameter(vector.detach().index_select(axis, index)))
    for attribute in ("normalized_shape", "weight_shape"):
        if isinstance(getattr(small, attribute, None), tuple):
            setattr(small, attribute, (len(index),))
    if isinstance(small, nn.GroupNorm):
        size = width // small.num_groups
        groups, counts = torch.unique(index // size, return_counts=True)
        if len(counts.unique()) > 1:
            raise NotComparable("the groups of a group norm keep different numbers of channels")
        small.num_groups, small.num_channels = len(groups), len(index)
    return small


# ------------------------------------------------------------------------------------------ running and comparing


class Doubled(TorchFunctionMode):
    """Code that asks for single precision by name gets double precision."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args = tuple(WIDER.get(a, a) if isinstance(a, torch.dtype) else a for a in args)
        kwargs = {k: WIDER.get(v, v) if isinstance(v, torch.dtype) else v for k, v in (kwargs or {}).items()}
        return (torch.Tensor.double if func is torch.Tensor.float else func)(*args, **kwargs)


def run(model: nn.Module, inputs: Sequence[Any], seed: int = 0) -> list[Tensor]:
    """All tensors that the model gives out, in double precision throughout; in single if its weights are."""
    if all(p.dtype != torch.float64 for p in model.parameters()):
        torch.manual_seed(seed)
        with torch.no_grad():
            return list(tensors_in(model(*copy.deepcopy(inputs))))
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(seed)
    try:
        with torch.no_grad(), Doubled():
            return list(tensors_in(model(*copy.deepcopy(widened(inputs)))))
    finally:
        torch.set_default_dtype(before)


def widened(value: Any) -> Any:
    """Inputs in double precision, whatever they are packed in."""
    if isinstance(value, Tensor):
        return value.double() if value.is_floating_point() else value
    if isinstance(value, Mapping):
        return {key: widened(item) for key, item in value.items()}
    return type(value)(widened(item) for item in value) if type(value) in (list, tuple) else value


def tensors_in(value: Any, seen: set[int] | None = None) -> Iterator[Tensor]:
    """The tensors of an output: in mappings, sequences, dataclasses and plain objects.

    Caches are no outputs but state for the next call, and their widths are the model's own business.
    """
    seen = set() if seen is None else seen
    if isinstance(value, Tensor):
        yield value
        return
    if value is None or isinstance(value, bool | int | float | str | type | types.ModuleType | nn.Module):
        return
    if id(value) in seen or type(value).__name__.endswith("Cache"):
        return
    seen.add(id(value))
    if isinstance(value, Mapping):
        parts = list(value.values())
    elif isinstance(value, list | tuple | set):
        parts = list(value)
    elif dataclasses.is_dataclass(value):
        parts = [getattr(value, field.name) for field in dataclasses.fields(value)]
    else:
        parts = list(vars(value).values()) if hasattr(value, "__dict__") else []
    for part in parts:
        yield from tensors_in(part, seen)


def compare(dense: nn.Module, pruned: nn.Module, inputs: Sequence[Any]) -> Compared:
    """How far `pruned` is from the masked `dense` on the inputs."""
    reference, redone = masked(dense, pruned)
    found, expected = run(pruned, inputs), _expected(reference, inputs)
    if [t.shape for t in found] != [t.shape for t in expected]:
        raise ShapesDiffer(f"outputs are {[tuple(t.shape) for t in found]}, not {[tuple(t.shape) for t in expected]}")
    pairs = [(a, b) for a, b in zip(found, expected, strict=True) if a.numel()]
    scales = [_scale(b) for _, b in pairs]
    largest = max(scales, default=0.0)
    gaps = [_gap(a, b) / (max(s, largest / 100) or 1.0) for (a, b), s in zip(pairs, scales, strict=True)]
    return Compared(max(gaps, default=0.0), largest, len(pairs), redone)


def _expected(reference: nn.Module, inputs: Sequence[Any]) -> list[Tensor]:
    try:
        return run(reference, inputs)
    except NotComparable:
        raise
    except Exception as error:
        raise NotComparable(f"the masked network does not run ({type(error).__name__}: {error})") from error


def _scale(tensor: Tensor) -> float:
    finite = tensor.abs().double() if not tensor.is_complex() else tensor.abs()
    finite = finite[torch.isfinite(finite)]
    return float(finite.max()) if finite.numel() else 0.0


def _gap(a: Tensor, b: Tensor) -> float:
    """max |a - b|; infinities agree with themselves, NaN with nothing."""
    a, b = (t.double() if not t.is_complex() else torch.view_as_real(t).double() for t in (a, b))
    gap = torch.where(a == b, torch.zeros_like(a), (a - b).abs())
    return float("inf") if bool(gap.isnan().any()) else float(gap.max())
