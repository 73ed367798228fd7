"""What a training may not notice: a network without some units, and the whole one in which they are zero."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

import infoprune as ip
from infoprune.graph.slicing import named_tensors
from infoprune.surgery.plan import removal_of


def half(model: nn.Module, x: Tensor) -> ip.Plan:
    """Half of every site's units, by their weights."""
    return ip.plan(model, x, ip.importance.IndependenceImportance(), rates=0.5)


def mask_(model: nn.Module, plan: ip.Plan, optimizers: Iterable[torch.optim.Optimizer] = ()) -> None:
    """Set to zero, in place, what the plan removes: in the tensors, and in what optimizers remember of them.

    Units that nothing reads and nothing writes get no gradients, so that they stay zero in further steps.
    """
    state = {id(p): values for optimizer in optimizers for p, values in optimizer.state.items()}
    removal = removal_of(plan.edits)
    for name, tensor in named_tensors(model).items():
        remembered = [
            v for v in state.get(id(tensor), {}).values() if isinstance(v, Tensor) and v.shape == tensor.shape
        ]
        for axis, indices in removal.indices.get(name, {}).items():
            for value in (tensor.data, *remembered):
                value.index_fill_(axis, torch.from_numpy(indices), 0.0)
