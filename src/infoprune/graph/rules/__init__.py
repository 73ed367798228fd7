"""How labels pass through each operation of ATen. What is not listed here freezes the labels that enter it."""

from __future__ import annotations

from typing import Any

import torch

from infoprune.graph.rules import (  # noqa: F401 - they file their rules
    along,
    contraction,
    grouped,
    movement,
    normalisation,
    recurrence,
    reduction,
    weight_norms,
)
from infoprune.graph.rules.attention import attention
from infoprune.graph.rules.base import Rule, rules
from infoprune.graph.rules.base import tensors as tensors
from infoprune.graph.rules.elementwise import pointwise, unknown


def find_rule(func: Any) -> Rule:
    packet = func.overloadpacket
    filed = rules.get(packet, rules.get(packet.__name__))
    if filed is not None:
        return filed
    if packet.__name__.startswith("_scaled_dot_product"):
        return attention
    return pointwise if torch.Tag.pointwise in func.tags else unknown


def moves(func: Any) -> bool:
    """Whether elements change places and nothing else."""
    return find_rule(func) is movement.movement
