"""Example inputs as they are described on the command line; loads nothing until they are made."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from typing import Any

ONE = re.compile(r"(?:(?P<name>[A-Za-z_]\w*)=)?(?P<shape>\d+(?:x\d+)*)(?::(?P<kind>float|int|bool))?")
FORM = "1x3x224x224, or by name: input_ids=1x16:int,attention_mask=1x16:bool"


@dataclass(frozen=True)
class Described:
    """One tensor: its shape, the kind of its numbers, and the argument that it is."""

    name: str | None
    shape: tuple[int, ...]
    kind: str

    def build(self) -> Any:
        """Noise; integers are 0 and 1, since nobody knows how many words there are, and masks let all through."""
        import torch

        generator = torch.Generator().manual_seed(0)
        if self.kind == "float":
            return torch.randn(self.shape, generator=generator)
        if self.kind == "bool":
            return torch.ones(self.shape, dtype=torch.bool)
        return torch.randint(2, self.shape, generator=generator)


def described(text: str) -> tuple[Described, ...]:
    """What `--input` says."""
    matches = [ONE.fullmatch(part.strip()) for part in text.split(",")]
    if any(one is None for one in matches) or len({bool(one["name"]) for one in matches if one}) > 1:
        raise argparse.ArgumentTypeError(f"{text!r:.80} is not of the form {FORM}")
    parts = [one for one in matches if one]
    if len({one["name"] for one in parts}) < len(parts) and parts[0]["name"]:
        raise argparse.ArgumentTypeError(f"{text!r:.80} names an argument twice")
    return tuple(
        Described(one["name"], tuple(int(n) for n in one["shape"].split("x")), one["kind"] or "float") for one in parts
    )


def inputs_of(descriptions: tuple[Described, ...]) -> Any:
    """Arguments by name, several in a row, or the only one."""
    if descriptions[0].name is not None:
        return {one.name: one.build() for one in descriptions}
    return descriptions[0].build() if len(descriptions) == 1 else tuple(one.build() for one in descriptions)
