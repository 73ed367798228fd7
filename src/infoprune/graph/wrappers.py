"""Models that are not what they look like: wrappers, which are taken off, and kinds whose code can't be followed."""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from infoprune.errors import Untraceable
from infoprune.require import require_model


def bare(model: Any) -> nn.Module:
    """The network that `torch.compile`, `DataParallel` or `DistributedDataParallel` wraps; any other model itself.

    A compiled wrapper runs the network that it was made for, whatever becomes of a copy; what is found, planned and
    pruned is that network, under its own names. The wrapper then runs the pruned network, compiled anew.
    """
    require_model(model)
    while is_compiled(model) or isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        model = model._modules["_orig_mod" if is_compiled(model) else "module"]
    return model


def for_surgery(model: Any) -> nn.Module:
    """`bare`, where the wrapper survives that parameters are replaced."""
    if isinstance(model, nn.parallel.DistributedDataParallel):
        raise TypeError(
            "the model is wrapped in DistributedDataParallel, which goes on to sum the gradients of the parameters "
            "that it was made with; prune model.module, then wrap it again"
        )
    network = bare(model)
    require_whole(network)
    return network


def require_whole(model: nn.Module) -> None:
    """Untraceable for parameters that are spread over processes (FSDP2): a part is no network to cut, fit or write."""
    for name, tensor in model.named_parameters():
        if type(tensor).__name__ == "DTensor":
            raise Untraceable(
                f"{name} is a DTensor, spread over processes; prune, compensate and write the network before "
                "fully_shard, or load its whole tensors into one that is not spread"
            )


def is_compiled(module: nn.Module) -> bool:
    """Whether this is what `torch.compile` gives back for a module."""
    return type(module).__name__ == "OptimizedModule" and type(module).__module__ == "torch._dynamo.eval_frame"


def followable(model: Any) -> nn.Module:
    """`bare`, or `Untraceable` where weights or code are out of reach, saying what to pass instead.

    Weights may be on the meta device: shapes are enough to follow the code.
    """
    network = bare(model)
    for reason in (*_about_modules(network), *_about_tensors(network)):
        raise Untraceable(reason)
    return network


def _about_modules(model: nn.Module) -> Iterator[str]:
    for name, module in model.named_modules():
        kind, home = type(module).__name__, type(module).__module__
        here = f"{name or 'the model'} is a {kind}"
        if isinstance(module, torch.jit.ScriptModule):
            yield f"{here}, which runs compiled code; prune the Python model it was made from, then script it again"
        if ".quantized" in home and home.startswith("torch."):
            yield f"{here}, whose weights are packed; prune the network before it is quantised"
        if isinstance(module, torch.fx.GraphModule) and "eval" in vars(module):
            yield f"{here} of torch.export, which keeps no layers; prune what was exported, then export again"
        if kind == "FullyShardedDataParallel":
            yield f"{here}, which flattens its parameters; prune the network before it is wrapped"


def has_no_values(model: nn.Module) -> bool:
    """Whether tensors are on the meta device, which keeps their shapes alone."""
    return any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))


def require_all_or_none(model: nn.Module) -> None:
    """Untraceable where some tensors have values and others don't, so that the model runs nowhere."""
    tensors = dict([*model.named_parameters(), *model.named_buffers()])
    without = [name for name, tensor in tensors.items() if tensor.is_meta]
    if 0 < len(without) < len(tensors):
        raise Untraceable(
            f"{without[0]} is on the meta device and others are not; load all weights, or plan with shapes_alone=True"
        )


_dispatch = attrgetter("__torch_dispatch__")


def _about_tensors(model: nn.Module) -> Iterator[str]:
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        kind = type(tensor)
        if is_lazy(tensor):
            yield f"{name} has no shape yet; run the model once before it is pruned"
        elif tensor.is_quantized or _dispatch(kind) is not _dispatch(Tensor):
            yield f"{name} is a {kind.__name__}, not a plain tensor; prune the network before it is spread or quantised"
