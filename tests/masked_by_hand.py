"""A check of surgery that asks nothing of the library but the pruned tensors' shapes and contents.

Every entry of the dense network gets a number of its own; what `prune_` leaves of the numbers says which entries stay.
All others are set to zero by hand in a copy of the dense network, which must then compute what the pruned one does.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
import torch_pruning as tp
from torch import Tensor, nn

import infoprune as ip
from infoprune.surgery import Plan

L2 = tp.importance.MagnitudeImportance(p=2)


def prunes_right(
    model: nn.Module, *calls: Any, rates: Any = 0.5, importance: Any = L2, dtype: torch.dtype = torch.float64,
    normed_axis: int | None = None, certify: bool = True,
    adjust: Callable[[nn.Module], None] = lambda masked: None, **options: Any,
) -> Plan:  # fmt: skip
    """Plan and prune on the first of `calls`; prices are counts there, and on all calls pruned is masked.

    `adjust` does to the masked network by hand what its size alone changes in the pruned one.
    """
    model, first = model.eval(), calls[0]
    with torch.no_grad():
        model(*_arguments(first))  # what hooks compute anew can be copied only if no gradient flows
    plan = ip.plan(model, first, importance, rates=rates, **options)
    assert plan.edits, "nothing leaves"
    masked = masked_by_hand(model, first, plan, normed_axis).to(dtype)
    pruned = ip.prune_(copy.deepcopy(model), first, plan, certify=certify)
    for net, price in ((model, "before"), (pruned, "after")):
        counted = ip.measure(net, first)
        planned = getattr(plan.prices["macs"], price), getattr(plan.prices["params"], price)
        assert (counted.macs, counted.params) == planned
    adjust(masked)
    tolerance = 1e-9 if dtype is torch.float64 else 1e-4
    for call in calls:
        inputs = torch.utils._pytree.tree_map(lambda x: _cast(x, dtype), _arguments(call))
        with torch.no_grad():
            expected, found = first_tensor(masked(*inputs)), first_tensor(pruned.to(dtype)(*inputs))
        assert float(expected.abs().max()) > 0
        torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * float(expected.abs().max()))
    return plan


def masked_by_hand(model: nn.Module, inputs: Any, plan: Plan, normed_axis: int | None = None) -> nn.Module:
    """A copy of the dense network in which every entry that the plan takes out is zero."""
    return _masked(model, _kept_entries(model, inputs, plan), normed_axis)


def _kept_entries(model: nn.Module, inputs: Any, plan: Plan) -> dict[str, Tensor]:
    """tensor -> which entries of the dense one the pruned one holds, as positions in the flattened tensor."""
    numbered = copy.deepcopy(model)
    with torch.no_grad():
        for tensor in _tensors(numbered).values():
            tensor.copy_(torch.arange(1.0, tensor.numel() + 1).view(tensor.shape))
    ip.prune_(numbered, inputs, plan, certify=False)
    return {name: tensor.detach().long() - 1 for name, tensor in _tensors(numbered).items()}


def _masked(model: nn.Module, kept: dict[str, Tensor], normed_axis: int | None) -> nn.Module:
    """Variances that leave are one, and so are directions of a weight norm whose gain is zero."""
    masked = copy.deepcopy(model)
    with torch.no_grad():
        for name, tensor in _tensors(masked).items():
            gone = torch.ones(tensor.numel(), dtype=torch.bool)
            gone[kept[name].flatten()] = False
            tensor[gone.view(tensor.shape)] = 1.0 if name.endswith("running_var") else 0.0
            if normed_axis is not None and name.endswith(("weight_v", "original1")):
                lines = tensor.movedim(normed_axis, 0)
                lines[(lines == 0).flatten(1).all(1)] = 1.0
    return masked


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return {n: t for n, t in [*model.named_parameters(), *model.named_buffers()] if t.is_floating_point()}


def _cast(value: Any, dtype: torch.dtype) -> Any:
    return value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value


def _arguments(call: Any) -> tuple:
    return call if isinstance(call, tuple) else (call,)


def first_tensor(output: Any) -> Tensor:
    """The first tensor in whatever a model gives back."""
    return next(t for t in torch.utils._pytree.tree_flatten(output)[0] if isinstance(t, Tensor))
