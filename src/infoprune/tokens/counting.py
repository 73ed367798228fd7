"""MACs of a vision transformer under any schedule, from forward passes over a few tokens.

A block costs a polynomial of degree two in the tokens that pass through it, and so do the scores before it and the
heads behind the last one, so that three counts of each are exact for all numbers of tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from infoprune.families.tokens import TokenLayout
from infoprune.graph.counting import count_macs
from infoprune.graph.verify import structural_copy
from infoprune.surgery.tokens import KeepTokens


@dataclass(frozen=True)
class Quadratic:
    """The polynomial of degree two through `counts` at first, first + 1 and first + 2."""

    first: int
    counts: tuple[int, int, int]

    @classmethod
    def of(cls, count: Callable[[int], int], first: int) -> Quadratic:
        return cls(first, (count(first), count(first + 1), count(first + 2)))

    def __call__(self, n: int) -> int:
        a, b, c = self.counts
        step = n - self.first
        return a + (b - a) * step + (c - 2 * b + a) * step * (step - 1) // 2


class _First(nn.Module):
    """Stands for all blocks: the first `tokens` tokens come out."""

    def __init__(self, tokens: int):
        super().__init__()
        self.tokens = tokens

    def forward(self, x: Tensor) -> Tensor:
        return x[:, : self.tokens]


class TokenCounter:
    """Counts for one image of the size that the transformer was built for."""

    def __init__(self, model: nn.Module, layout: TokenLayout):
        self.model, self.layout = model, layout
        self.like = next(model.get_submodule(layout.transformer).parameters())
        self.around = Quadratic.of(self._around, layout.prefix + 1)
        self.blocks = {name: Quadratic.of(lambda n, b=name: self._block(b, n), 1) for name in layout.blocks}
        self.scores: dict[tuple, Quadratic] = {}

    def macs(self, edits: Sequence[KeepTokens]) -> int:
        """What the transformer costs with these edits."""
        at, patches, total = {edit.block: edit for edit in edits}, self.layout.patches, 0
        for name, price in self.blocks.items():
            if name in at:
                total += self._score(at[name])(patches)
                patches = at[name].leaving
            total += price(self.layout.prefix + patches)
        return total + self.around(self.layout.prefix + patches)

    def _around(self, tokens: int) -> int:
        """The embedding, and the heads behind `tokens` tokens."""
        copy = structural_copy(self.model).get_submodule(self.layout.transformer)
        copy._modules["blocks"] = nn.Sequential(_First(tokens))
        return count_macs(copy, (self._zeros(1, *self.layout.image),))

    def _block(self, name: str, tokens: int) -> int:
        return count_macs(self.model.get_submodule(name), (self._zeros(1, tokens, self.layout.dim),))

    def _score(self, edit: KeepTokens) -> Quadratic:
        key = edit.block, edit.score, edit.kernels, edit.fuse
        if key not in self.scores:
            self.scores[key] = Quadratic.of(lambda n: self._selection(edit, n), 2)
        return self.scores[key]

    def _selection(self, edit: KeepTokens, patches: int) -> int:
        x = self._zeros(1, self.layout.prefix + patches, self.layout.dim)
        return count_macs(edit.module(), (x, self.model.get_submodule(edit.block)))

    def _zeros(self, *shape: int) -> Tensor:
        return torch.zeros(shape, device=self.like.device, dtype=self.like.dtype)
