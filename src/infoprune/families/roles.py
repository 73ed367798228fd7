"""Which layers play one role: the same part of blocks that repeat, told apart by their numbers alone."""

from __future__ import annotations

import re


def role_of(name: str) -> str:
    """The layer's name without the numbers of the blocks around it.

    >>> role_of("model.layers.11.mlp.gate_proj"), role_of("layer1.0.conv1")
    ('model.layers.*.mlp.gate_proj', 'layer1.*.conv1')
    """
    return re.sub(r"(?<![^.])\d+(?![^.])", "*", name)
