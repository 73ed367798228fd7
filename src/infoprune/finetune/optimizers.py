"""The optimizer that options ask for, and what it remembers as plain tensors and numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from infoprune.finetune.options import Training
from infoprune.finetune.sharding import spread, whole


def optimizer_of(model: nn.Module, training: Training, *, fused: bool) -> torch.optim.Optimizer:
    """Weight decay is for matrices and kernels; norms and biases go without. `fused`: one kernel for all tensors."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.dim() > 1], "weight_decay": training.weight_decay},
        {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0},
    ]
    if training.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=training.lr, fused=fused)
    nesterov = training.nesterov and training.momentum > 0
    return torch.optim.SGD(groups, lr=training.lr, momentum=training.momentum, nesterov=nesterov, fused=fused)


def state_of(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors by "optimizer.<number of the parameter>.<name>", and what is no tensor under the same names."""
    state = optimizer.state_dict()["state"]
    flat = {f"optimizer.{number}.{name}": value for number, held in state.items() for name, value in held.items()}
    tensors = {name: value for name, value in flat.items() if isinstance(value, Tensor)}
    return {n: whole(v) for n, v in tensors.items()}, {n: v for n, v in flat.items() if n not in tensors}


def restore(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], numbers: Mapping) -> None:
    """Buffers get the strides of their parameters: with others, sums are vectorised and rounded differently."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Any]] = {}
    for name, value in [*tensors.items(), *named(numbers, "optimizer.").items()]:
        number, _, key = name.partition(".")
        like = parameters[int(number)]
        shaped = isinstance(value, Tensor) and value.shape == like.shape
        placed = torch.empty_like(like).detach().copy_(spread(value, like)) if shaped else value
        state.setdefault(int(number), {})[key] = placed
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def named(named: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Those whose names begin with the prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in named.items() if name.startswith(prefix)}
