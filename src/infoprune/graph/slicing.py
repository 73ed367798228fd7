"""Take indices out of named tensors, or set them to zero, and keep every module's own numbers in step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from infoprune.graph.recomputed import normed_axes, recompute, weight_of
from infoprune.graph.slots import Attribute, Slot, dropped_indices

SitePart = tuple[tuple[Slot, ...], tuple[Attribute, ...], np.ndarray]  # of one site; the mask says which units leave


@dataclass
class Removal:
    """What leaves: tensor -> axis -> indices, and (module, attribute, position) -> how much smaller it gets."""

    indices: Mapping[str, Mapping[int, np.ndarray]]
    attributes: dict[tuple[str, str, int | None], int] = field(default_factory=dict)

    @classmethod
    def of(cls, parts: Iterable[SitePart]) -> Removal:
        parts = list(parts)
        removal = cls(dropped_indices((slot, mask) for slots, _, mask in parts for slot in slots))
        for _, attributes, mask in parts:
            for a in attributes:
                key = (a.module, a.name, a.position)
                removal.attributes[key] = removal.attributes.get(key, 0) + a.per_unit * int(mask.sum())
        return removal

    def kept(self, name: str, shape: torch.Size) -> dict[int, Tensor]:
        """axis -> the indices of this tensor that stay."""
        return {
            axis: torch.from_numpy(np.delete(np.arange(shape[axis]), indices))
            for axis, indices in self.indices.get(name, {}).items()
            if len(indices)
        }


def shrink(model: nn.Module, removal: Removal) -> list[tuple[nn.Parameter, nn.Parameter]]:
    """Remove the indices for good, in place, and return each parameter with the smaller one that replaced it.

    A parameter is replaced rather than cut in place because an autograd graph that is still alive would go on
    expecting gradients of its old shape.
    """
    tensors = named_tensors(model)
    cut = {name: _smaller(tensors[name], removal.kept(name, tensors[name].shape)) for name in removal.indices}
    replace(model, {id(tensors[name]): new for name, new in cut.items()})
    for module in model.modules():
        recompute(module)
        _match_shapes(module)
    modules = dict(model.named_modules())
    for (module, attribute, position), less in removal.attributes.items():
        _lower(modules[module], attribute, position, less)
    pairs = [(tensors[name], new) for name, new in cut.items()]
    return [(old, new) for old, new in pairs if isinstance(old, nn.Parameter) and isinstance(new, nn.Parameter)]


def blank(model: nn.Module, removal: Removal) -> None:
    """Put zeros where indices would leave instead (ones in variances, nothing new in directions), in new tensors."""
    tensors, spared = named_tensors(model), normed_axes(model)
    blanked = {}
    for name, axes in removal.indices.items():
        new = tensors[name].detach().clone()
        for axis, indices in ((a, i) for a, i in axes.items() if spared.get(name) != a):
            new.index_fill_(
                axis, torch.from_numpy(indices).to(new.device), 1.0 if name.endswith("running_var") else 0.0
            )
        blanked[id(tensors[name])] = nn.Parameter(new, False) if isinstance(tensors[name], nn.Parameter) else new
    replace(model, blanked)


def replace(model: nn.Module, successors: Mapping[int, Tensor]) -> None:
    """Put a tensor in the place of every one whose id is given, wherever it is held."""
    for module in model.modules():
        _put(module._parameters, successors)
        _put(module._buffers, successors)
        if isinstance(module, nn.RNNBase):  # holds its weights a second time
            module._flat_weights = [successors.get(id(t), t) for t in module._flat_weights]


def _put(container: dict[str, Any], successors: Mapping[int, Tensor]) -> None:
    container.update({k: successors[id(t)] for k, t in container.items() if id(t) in successors})


def named_tensors(model: nn.Module) -> dict[str, Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def device_of(model: nn.Module) -> torch.device:
    """Where the model's first tensor is; the CPU if it has none."""
    return next((t.device for t in chain(model.parameters(), model.buffers())), torch.device("cpu"))


def sliced(tensor: Tensor, kept: Mapping[int, Tensor]) -> Tensor:
    """The tensor with only the `kept` indices of each axis, in the same memory format."""
    result = tensor
    for axis, index in kept.items():
        result = result.index_select(axis, index.to(tensor.device))
    if tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous():
        return result.contiguous(memory_format=torch.channels_last)
    return result.contiguous()


def _smaller(tensor: Tensor, kept: Mapping[int, Tensor]) -> Tensor:
    """The cut tensor, a parameter with its gradient and its own attributes if it was one."""
    new = sliced(tensor.detach(), kept)
    if not isinstance(tensor, nn.Parameter):
        return new
    new = nn.Parameter(new, requires_grad=tensor.requires_grad)
    vars(new).update(vars(tensor))
    new.grad = None if tensor.grad is None else sliced(tensor.grad, kept)
    return new


def _lower(module: nn.Module, attribute: str, position: int | None, less: int) -> None:
    value: Any = getattr(module, attribute)
    if position is None:
        setattr(module, attribute, value - less)
        return
    items = [*value[:position], value[position] - less, *value[position + 1 :]]
    setattr(module, attribute, type(value)(items) if isinstance(value, list | tuple) else items)


# what the library's own layers say of their shapes


def _match_shapes(module: nn.Module) -> None:
    """Set the sizes that a layer declares to those its weight has."""
    if isinstance(module, nn.modules.conv._ConvNd):
        _match_convolution(module)
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = weight_of(module).shape
    elif isinstance(module, nn.modules.batchnorm._NormBase) and (norm := _any_size(module)) is not None:
        module.num_features = norm
    elif isinstance(module, nn.GroupNorm) and module.weight is not None:
        module.num_channels = len(module.weight)
    elif isinstance(module, nn.LayerNorm | nn.RMSNorm) and module.weight is not None:
        module.normalized_shape = tuple(module.weight.shape)
    elif isinstance(module, nn.PReLU):
        module.num_parameters = len(module.weight)
    elif isinstance(module, nn.Embedding):
        module.num_embeddings, module.embedding_dim = weight_of(module).shape
    elif isinstance(module, nn.RNNBase | nn.RNNCellBase):
        _match_recurrent(module)
    elif isinstance(module, nn.MultiheadAttention):
        _match_attention(module)
    elif _is_transposed_linear(module):
        vars(module).update(zip(("nx", "nf"), weight_of(module).shape, strict=True))


def _is_transposed_linear(module: nn.Module) -> bool:
    """GPT-2's layer in the transformers package: a weight of inputs by outputs."""
    return type(module).__name__ == "Conv1D" and {"nx", "nf"} <= vars(module).keys()


def _match_attention(module: nn.MultiheadAttention) -> None:
    module.embed_dim = len(module.out_proj.weight)
    module.head_dim = module.embed_dim // module.num_heads
    reads = (module.in_proj_weight,) * 2 if module._qkv_same_embed_dim else (module.k_proj_weight, module.v_proj_weight)
    module.kdim, module.vdim = (weight.shape[1] for weight in reads)


def _match_recurrent(module: nn.RNNBase | nn.RNNCellBase) -> None:
    end = "_l0" if isinstance(module, nn.RNNBase) else ""
    reads, hidden = (getattr(module, f"weight_{kind}{end}") for kind in ("ih", "hh"))
    kind = getattr(module, "mode", type(module).__name__)
    gates = 4 if kind.startswith("LSTM") else 3 if kind.startswith("GRU") else 1
    module.input_size, module.hidden_size = reads.shape[1], len(hidden) // gates
    if getattr(module, "proj_size", 0):
        module.proj_size = len(module.weight_hr_l0)  # type: ignore[arg-type]


def _match_convolution(module: nn.modules.conv._ConvNd) -> None:
    weight, depthwise = weight_of(module), module.groups == module.in_channels and module.groups > 1
    first, second = weight.shape[:2]
    if depthwise:
        module.groups = first if module.transposed else first // (module.out_channels // module.in_channels)
    many, few = first, second * module.groups
    module.in_channels, module.out_channels = (many, few) if module.transposed else (few, many)


def _any_size(module: nn.modules.batchnorm._NormBase) -> int | None:
    return next((len(t) for t in (module.weight, module.running_mean) if t is not None), None)


def attributes_in_use(attributes: Iterable[Attribute], model: nn.Module) -> tuple[Attribute, ...]:
    """Without those that the library's own layers take care of themselves."""
    modules = dict(model.named_modules())
    return tuple(a for a in attributes if not _is_own(modules[a.module], a.name))


def _is_own(module: nn.Module, attribute: str) -> bool:
    own = (nn.modules.conv._ConvNd, nn.Linear, nn.modules.batchnorm._NormBase, nn.PReLU, nn.Embedding,
           nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention)  # fmt: skip
    if isinstance(module, own) or (_is_transposed_linear(module) and attribute in ("nx", "nf")):
        return True
    if isinstance(module, nn.GroupNorm):
        return module.weight is not None and attribute == "num_channels"
    return isinstance(module, nn.LayerNorm | nn.RMSNorm) and module.weight is not None
