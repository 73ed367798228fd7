"""The masked original of a model that drops tokens: all of them flow, and nobody attends to those that are gone."""

from __future__ import annotations

from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from infoprune.families.tokens import TokenLayout, token_layout
from infoprune.graph.slicing import Removal, named_tensors


class Selection(Protocol):
    """What a TokenSelection tells."""

    prefix: int
    fuse: bool

    def choice(self, x: Tensor, block: nn.Module, channels: Tensor | None = None) -> Tensor: ...


class TokenMasking:
    """Hooks on the blocks of one model: an attention mask instead of gathering, which waits until the last block.

    `alive` holds, for every image, the places among the patches of the tokens that are still there, in their order.
    Where channels of the tokens are masked too, scores see the `channels` that stay.
    """

    def __init__(self, blocks: tuple[str, ...], channels: Tensor | None):
        self.blocks, self.channels = blocks, channels
        self.selections: dict[str, Selection] = {}
        self.alive: Tensor | None = None

    @classmethod
    def of(cls, model: nn.Module, removal: Removal) -> TokenMasking:
        """The masking of this model, put there if there is none."""
        layout = token_layout(model)
        blocks = layout.blocks
        first = model.get_submodule(blocks[0])
        for hook in first._forward_pre_hooks.values():
            if isinstance(hook, partial) and isinstance(owner := getattr(hook.func, "__self__", None), cls):
                return owner
        masking = cls(blocks, _channels(model, layout, removal))
        for name in blocks:
            model.get_submodule(name).register_forward_pre_hook(partial(masking.before, name), with_kwargs=True)
        model.get_submodule(blocks[-1]).register_forward_hook(masking.after_all)
        return masking

    def add(self, block: str, selection: Selection) -> None:
        self.selections[block] = selection

    def before(self, name: str, block: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        if name == self.blocks[0]:
            self.alive = None
        x = args[0]
        if name in self.selections:
            x = self.select(self.selections[name], x, block)
        if self.alive is not None:
            kwargs = {**kwargs, "attn_mask": self.attended(x)}
        return (x, *args[1:]), kwargs

    def select(self, selection: Selection, x: Tensor, block: nn.Module) -> Tensor:
        """Narrow `alive`; a fused token takes the place of the first that leaves."""
        prefix = next(iter(self.selections.values())).prefix
        alive = self.alive if self.alive is not None else everyone(x, prefix)
        chosen = selection.choice(gathered(x, alive, prefix), block, self.channels)
        stays = torch.zeros_like(alive, dtype=torch.bool).scatter_(1, chosen, True)
        leaving = alive[~stays].view(len(alive), -1)
        self.alive = alive[stays].view(len(alive), -1)
        if not selection.fuse or not leaving.shape[1]:
            return x
        rows = torch.arange(len(x), device=x.device)
        x = x.clone()
        x[rows, leaving[:, 0] + prefix] = x[rows[:, None], leaving + prefix].mean(1)
        self.alive = torch.cat([self.alive, leaving[:, :1]], 1)
        return x

    def attended(self, x: Tensor) -> Tensor:
        """[batch, 1, 1, tokens]: 0 where keys count, -inf where they are gone."""
        prefix = next(iter(self.selections.values())).prefix
        mask = x.new_full(x.shape[:2], -torch.inf)
        mask[:, :prefix] = 0
        assert self.alive is not None
        return mask.scatter_(1, self.alive + prefix, 0)[:, None, None]

    def after_all(self, _: nn.Module, __: Any, out: Tensor) -> Tensor:
        prefix = next(iter(self.selections.values())).prefix
        return out if self.alive is None else gathered(out, self.alive, prefix)


def _channels(model: nn.Module, layout: TokenLayout, removal: Removal) -> Tensor | None:
    """Those of the tokens' channels that stay; None where all do."""
    weight = named_tensors(model).get(layout.embedding)
    if weight is None or (kept := removal.kept(layout.embedding, weight.shape).get(0)) is None:
        return None
    return kept.to(weight.device)


def everyone(x: Tensor, prefix: int) -> Tensor:
    return torch.arange(x.shape[1] - prefix, device=x.device).expand(x.shape[0], -1)


def gathered(x: Tensor, places: Tensor, prefix: int) -> Tensor:
    return torch.cat([x[:, :prefix], x.gather(1, (places + prefix)[..., None].expand(-1, -1, x.shape[-1]))], 1)
