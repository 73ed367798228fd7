"""What a pruned network's widths are, for those who have one number for all blocks, and its blocks without gaps."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from infoprune.artifact.architecture import Architecture
from infoprune.surgery.stand_ins import PassThrough


class NotSaid(Exception):
    """Why a library has no words for a network."""


@dataclass(frozen=True)
class PlainNetwork:
    """A network in a library's own words; `recorded` are widths, block by block, that its builder does not take."""

    architecture: Architecture
    recorded: Mapping[int, Mapping[str, int]] = field(default_factory=dict)


def by_number(model: nn.Module) -> tuple[dict[str, Tensor], dict[str, tuple[int, ...]]]:
    """The state without whole blocks that left, the others counted anew; container -> the numbers that stay of it."""
    blocks = {}
    for name, module in model.named_modules():
        gone = [child for child, part in module._modules.items() if type(part) is PassThrough]
        if gone and isinstance(module, nn.Sequential | nn.ModuleList):
            blocks[name] = tuple(int(child) for child in module._modules if child not in gone)
    state = {}
    for name, tensor in model.state_dict().items():
        for container, kept in blocks.items():
            if block := re.match(rf"{re.escape(container)}\.(\d+)\.", name):
                name = f"{container}.{kept.index(int(block[1]))}.{name[block.end() :]}"
        state[name] = tensor
    return state, blocks


def one(values: Mapping[str, int | float], what: str) -> int | float:
    """The value that all layers have; NotSaid where they differ."""
    (first, value), *rest = values.items()
    other = next((name for name, own in rest if own != value), None)
    if other is not None:
        raise NotSaid(
            f"{what} is {value:g} at {first} and {values[other]:g} at {other}, and it takes one for all; plan with "
            "tied=True, and leave alone what it can't say (ignored_layers)"
        )
    return value
