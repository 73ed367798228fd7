"""KeepTokens: before a block of a vision transformer, the most important patch tokens of each image go on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from infoprune.errors import BadArtifact, StalePlan
from infoprune.families.tokens import token_layout
from infoprune.graph.slicing import Removal
from infoprune.graph.slots import Site
from infoprune.surgery.checked import LONGEST_AXIS, integer, keys, name_of
from infoprune.surgery.edit import Edit, edits, stale
from infoprune.surgery.token_masking import TokenMasking
from infoprune.surgery.token_scores import Arriving, token_scores

CHILD = "keep_tokens"

# ---------------------------------------------------------------------------------- what stands before the block


class TokenSelection(nn.Module):
    """Of n patch tokens, ceil(n kept / arriving) go on in their order, the `prefix` tokens before them; no parameters.

    With `fuse` the mean of the others follows as one more token. Every image makes its own choice, the number is the
    same for all, so that shapes depend on the shape of the input alone.
    """

    def __init__(self, arriving: int, kept: int, *, prefix: int, score: str, kernels: int, fuse: bool):
        super().__init__()
        self.arriving, self.kept, self.prefix = arriving, kept, prefix
        self.score, self.kernels, self.fuse = score, kernels, fuse

    def forward(self, x: Tensor, block: nn.Module) -> Tensor:
        rows = torch.arange(x.shape[0], device=x.device)[:, None]
        first = torch.arange(self.prefix, device=x.device).expand(x.shape[0], -1)
        kept = x[rows, torch.cat([first, self.choice(x, block) + self.prefix], 1)]
        others = x.shape[1] - kept.shape[1]
        if not self.fuse or not others:
            return kept
        return torch.cat([kept, (x.sum(1, keepdim=True) - kept.sum(1, keepdim=True)) / others], 1)

    def choice(self, x: Tensor, block: nn.Module, channels: Tensor | None = None) -> Tensor:
        """Which patch tokens stay, [batch, kept], ascending."""
        wide = x.detach().to(torch.promote_types(x.dtype, torch.float32))
        scores = token_scores[self.score](Arriving(wide, self.prefix, block, self.kernels, channels))
        return scores.topk(self.count(x.shape[1] - self.prefix), sorted=False).indices.sort(-1).values

    def count(self, patches: int) -> int:
        """How many of `patches` stay; for images of another size, the same share."""
        return -(-patches * self.kept // self.arriving)

    def extra_repr(self) -> str:
        return f"{self.kept} of {self.arriving} by {self.score}" + (", the others fused" if self.fuse else "")


def select_before(block: nn.Module, args: tuple) -> tuple:
    """A forward pre-hook: keeps nothing of its own, so that copies of the block work alike."""
    return (getattr(block, CHILD)(args[0], block), *args[1:])


# ------------------------------------------------------------------------------------------------------- the edit


@edits.register("keep_tokens")
@dataclass(frozen=True)
class KeepTokens(Edit):
    """Of `arriving` patch tokens, the `kept` with the largest score go on into `block`.

    `prefix` class and register tokens always do; `kernels` is in how many parts the capacity sees a token; `fuse` adds
    the mean of the others as one token.
    """

    kind: ClassVar[str] = "keep_tokens"
    late: ClassVar[bool] = True

    block: str
    arriving: int
    kept: int
    prefix: int
    score: str
    kernels: int
    fuse: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.kept < self.arriving:
            raise ValueError(
                f"{self.block} can't keep {self.kept} of {self.arriving} tokens; keep at least 1 and fewer than arrive"
            )
        token_scores[self.score]
        object.__setattr__(self, "score", token_scores.current(self.score))

    @property
    def site(self) -> Site:
        return Site(self.block, self.arriving, "tokens")

    @property
    def keeps(self) -> int:
        return self.kept

    @property
    def leaving(self) -> int:
        """How many patch tokens the block gets, the fused one included."""
        return self.kept + self.fuse

    def module(self) -> TokenSelection:
        return TokenSelection(
            self.arriving, self.kept, prefix=self.prefix, score=self.score, kernels=self.kernels, fuse=self.fuse
        )

    def replace_modules(self, model: nn.Module) -> None:
        block = model.get_submodule(self.block)
        block.add_module(CHILD, self.module().train(block.training))
        block.register_forward_pre_hook(select_before)

    def mask(self, original: nn.Module, removal: Removal) -> None:
        TokenMasking.of(original, removal).add(self.block, self.module())

    def check(self, model: nn.Module) -> None:
        layout = token_layout(model)
        if self.block not in layout.blocks:
            raise StalePlan(f"the model has no block {self.block}, before which the plan drops tokens; plan() it again")
        require_whole(model, self.block)
        if self.prefix != layout.prefix:
            raise stale("the number of class and register tokens", layout.prefix, self.prefix)
        if self.arriving > layout.patches:
            raise stale("the number of patch tokens", layout.patches, f"at least {self.arriving}")

    def merged(self, other: Edit) -> KeepTokens:
        if other != self:
            raise StalePlan(f"the plans drop other tokens before {self.block}; make one schedule of both")
        return self

    def host_ratios(self, model: nn.Module) -> dict[nn.Module, float]:
        raise ValueError(f"tokens leave before {self.block}, which no torch-pruning ratio can say; use prune_()")

    def to_json(self) -> dict[str, Any]:
        return {
            "site": self.block,
            "arriving": self.arriving,
            "kept": self.kept,
            "prefix": self.prefix,
            "score": self.score,
            "kernels": self.kernels,
            "fuse": self.fuse,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> KeepTokens:
        fields = keys(data, "edit", {"site", "arriving", "kept", "prefix", "score", "kernels", "fuse"})
        arriving = integer(fields["arriving"], "arriving", 2, LONGEST_AXIS)
        score = token_scores.current(fields["score"]) if isinstance(fields["score"], str) else ""
        if score not in token_scores:
            raise BadArtifact(f"{fields['score']!r:.60} is not a token score; known: {', '.join(token_scores)}")
        if not isinstance(fields["fuse"], bool):
            raise BadArtifact(f"fuse is {fields['fuse']!r:.60}, not a truth value")
        return cls(
            name_of(fields["site"]),
            arriving,
            integer(fields["kept"], "kept", 1, arriving - 1),
            integer(fields["prefix"], "prefix", 0, 1 << 10),
            score,
            integer(fields["kernels"], "kernels", 1, 1 << 12),
            fields["fuse"],
        )


def require_whole(model: nn.Module, block: str) -> None:
    """Raise StalePlan if tokens leave before this block already."""
    if CHILD in model.get_submodule(block)._modules:
        raise StalePlan(f"tokens leave before {block} of this model already; plan the model with all its tokens")
