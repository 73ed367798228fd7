"""A network whose tensors are spread over all processes (FSDP2), and back."""

from __future__ import annotations

import copy

from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

Rows = (nn.Sequential, nn.ModuleList)


def sharded(model: nn.Module) -> nn.Module:
    """A copy that holds 1 / world of every parameter; those of a block come together while the block runs."""
    from torch.distributed.fsdp import fully_shard

    net = copy.deepcopy(model)
    for block in blocks_of(net):
        fully_shard(block)
    return fully_shard(net)  # type: ignore[return-value]


def blocks_of(model: nn.Module) -> list[nn.Module]:
    """What stands in the outermost rows of modules and has parameters."""
    blocks: list[nn.Module] = []
    for child in model.children():
        if isinstance(child, Rows):
            blocks += [block for block in child if any(True for _ in block.parameters())]
        else:
            blocks += blocks_of(child)
    return blocks


def whole(tensor: Tensor) -> Tensor:
    """All of it on every process; every process must ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def spread(tensor: Tensor, like: Tensor) -> Tensor:
    """This process's part of it, where `like` is spread."""
    if not isinstance(like, DTensor):
        return tensor
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements)
