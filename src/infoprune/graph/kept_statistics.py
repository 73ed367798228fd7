"""Let the masked original take its statistics over what is kept, as the pruned network must."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakIdKeyDictionary

from infoprune.graph.slicing import Removal, named_tensors, sliced

aten = torch.ops.aten


class KeptStatistics(TorchDispatchMode):
    """Norms over channels leave the masked ones out: layer norms, group norms, standardised weights.

    So does the scale of attention, 1 / sqrt(dimensions of a head), where it is not given.
    """

    def __init__(self, model: nn.Module, removal: Removal):
        super().__init__()
        tensors = named_tensors(model)
        self.kept: Mapping[Tensor, dict[int, Tensor]] = WeakIdKeyDictionary()
        self.weights: dict[int, Tensor] = {}
        for name in removal.indices:
            tensor = tensors[name]
            self.kept[tensor] = {a: i.to(tensor.device) for a, i in removal.kept(name, tensor.shape).items()}
            if tensor.dim() > 2:
                self.weights[tensor.data_ptr()] = tensor

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        packet = func.overloadpacket
        if packet in (aten.native_layer_norm, aten._fused_rms_norm) and len(args[1]) == 1 and self._owns(args[2]):
            return self._layer_norm(func, args)
        if packet is aten.native_group_norm and self._owns(args[1]):
            return self._group_norm(func, args)
        if packet is aten.native_batch_norm and args[5] and args[0].data_ptr() in self.weights:
            return self._standardised(func, args, self.weights[args[0].data_ptr()])
        if packet.__name__.startswith("_scaled_dot_product") and (kwargs or {}).get("scale") is None:
            return func(*args, **{**(kwargs or {}), "scale": self._scale(args[0])})
        return func(*args, **(kwargs or {}))

    def _scale(self, q: Tensor) -> float | None:
        """Dimensions that are zero in all queries have been masked."""
        left = int((q != 0).flatten(0, -2).any(0).sum())
        return left**-0.5 if 0 < left < q.size(-1) else None

    def _owns(self, weight: Tensor | None) -> bool:
        return weight is not None and 0 in self.kept.get(weight, {})

    def _layer_norm(self, func: Any, args: tuple) -> Any:
        index = self.kept[args[2]][0]
        affine = [t[index] if isinstance(t, Tensor) else t for t in args[2:4]]
        inner = func(args[0][..., index], [len(index)], *affine, *args[4:])
        return (_scattered(inner[0], args[0], {args[0].dim() - 1: index}), *inner[1:])

    def _group_norm(self, func: Any, args: tuple) -> Any:
        """Groups that lost the same number of places stay; if whole groups left, fewer stay."""
        x, index, groups = args[0], self.kept[args[1]][0], args[6]
        left = len(torch.unique(index // (x.size(1) // groups)))
        affine = [None if t is None else t[index] for t in args[1:3]]
        inner = func(x[:, index].contiguous(), *affine, args[3], len(index), args[5], left, args[7])
        return (_scattered(inner[0], x, {1: index}), *inner[1:])

    def _standardised(self, func: Any, args: tuple, weight: Tensor) -> Any:
        """A convolution's weight seen as (1, filters, values of a filter)."""
        kept = self.kept[weight]
        small = sliced(weight, kept)
        affine = [t[kept[0]] if isinstance(t, Tensor) and 0 in kept else t for t in args[1:5]]
        inner = func(small.reshape(1, small.size(0), -1), *affine, *args[5:])
        return (_scattered(inner[0].view_as(small), weight, kept).view_as(args[0]), *inner[1:])


def _scattered(small: Tensor, like: Tensor, kept: Mapping[int, Tensor]) -> Tensor:
    """Zeros of the shape of `like` with `small` at the kept indices."""
    whole = small
    for axis, index in kept.items():
        shape = list(whole.shape)
        shape[axis] = like.size(axis)
        whole = whole.new_zeros(shape).index_copy_(axis, index, whole)
    return whole
