"""nn.MultiheadAttention: its code takes the width of its input for that of all heads together, so both shrink as one.

A unit is one dimension of every head of q, k and v, and as many channels of the stream: `embed_dim` goes down by
`num_heads` with each.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from torch import Tensor, nn

from infoprune.graph.labels import Ledger

WIDE = (
    ("in_proj_weight", 0), ("in_proj_weight", 1), ("q_proj_weight", 0), ("q_proj_weight", 1), ("k_proj_weight", 0),
    ("v_proj_weight", 0), ("out_proj.weight", 0), ("out_proj.weight", 1),
)  # fmt: skip


class Labelled(Protocol):
    """What `tie_streams` asks of the trace."""

    ledger: Ledger
    axes: dict[tuple[str, int], Tensor]


def multihead(model: nn.Module) -> Iterator[tuple[str, nn.MultiheadAttention]]:
    return ((name, m) for name, m in model.named_modules() if isinstance(m, nn.MultiheadAttention))


def tie_streams(model: nn.Module, tape: Labelled) -> None:
    """Dimension j of every head leaves with channels j, j + d, j + 2 d, ... of the stream, d being what a head has."""
    for name, module in multihead(model):
        known = [tape.axes.get((f"{name}.{leaf}".lstrip("."), axis)) for leaf, axis in WIDE]
        found = [labels.view(-1, module.head_dim) for labels in known if labels is not None]
        for rows in found:
            tape.ledger.collapse(rows, [0])
            tape.ledger.tie(found[0][0], rows[0])
