"""How important each patch token of an image is, by name; computed inside the forward pass, per image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from timm.models.vision_transformer import Attention
from torch import Tensor, nn

from infoprune.estimators.tokens import paper_token_importance, token_capacity, token_importance, token_independence
from infoprune.registry import Registry

token_scores = Registry("token_score")


@dataclass(frozen=True)
class Arriving:
    """Tokens `x` [batch, prefix + n, d] that arrive at `block`; a token is `kernels` parts to the capacity.

    `channels`, if given, are those that a score may see: the others are zero and stand for channels that left.
    """

    x: Tensor
    prefix: int
    block: nn.Module
    kernels: int
    channels: Tensor | None = None

    @property
    def tokens(self) -> Tensor:
        """[batch, prefix + n, channels]"""
        return self.x if self.channels is None else self.x[..., self.channels]

    @property
    def patches(self) -> Tensor:
        """[batch, n, channels]"""
        return self.tokens[:, self.prefix :]


token_scores.rename("capacity+independence", "capacity_independence")
token_scores.rename("class-attention", "class_attention")

Score = Callable[[Arriving], Tensor]  # [batch, n], in the precision of x; larger ones stay


@token_scores.register("capacity_independence")
def capacity_and_independence(arriving: Arriving) -> Tensor:
    """0.8 Norm(capacity) + 0.2 Norm(independence), eq. 7 with squared distances in closed form."""
    return token_importance(arriving.tokens, kernels=arriving.kernels, prefix=arriving.prefix)


@token_scores.register("capacity")
def capacity(arriving: Arriving) -> Tensor:
    """1 - H of the token's parts, eqs. 1-5 with squared distances."""
    return token_capacity(arriving.patches, kernels=arriving.kernels)


@token_scores.register("independence")
def independence(arriving: Arriving) -> Tensor:
    """sum_j |x_i - x_j|^2, eq. 6 with squared distances."""
    return token_independence(arriving.patches)


@token_scores.register("paper")
def paper(arriving: Arriving) -> Tensor:
    """Eqs. 1-7 with Euclidean distances between all pairs, at several times the cost."""
    return paper_token_importance(arriving.patches, kernels=arriving.kernels)


@token_scores.register("l2")
def l2(arriving: Arriving) -> Tensor:
    """|x_i|"""
    return torch.linalg.vector_norm(arriving.patches, dim=-1)


@token_scores.register("random")
def random(arriving: Arriving) -> Tensor:
    """Drawn once for every position and the same for every image, so that outputs repeat."""
    n = arriving.patches.shape[1]
    place = torch.arange(n, device=arriving.x.device)
    drawn = (place * place * 104729 + place * 7919 + 12345) % 65537
    return drawn.to(arriving.x.dtype).expand(arriving.x.shape[0], -1)


@token_scores.register("class_attention")
def class_attention(arriving: Arriving) -> Tensor:
    """What the class token attends to in the block that follows, averaged over its heads.

    q . (W_k y + b_k) = (W_k' q) . y + const, so no key is computed.
    """
    attention = _plain_attention(arriving)
    q_weight, k_weight, _ = attention.qkv.weight.unflatten(0, (3, attention.num_heads, -1))
    y = arriving.block.get_submodule("norm1")(arriving.x)
    query = torch.einsum("bd,hed->bhe", y[:, 0], q_weight)
    if attention.qkv.bias is not None:
        query = query + attention.qkv.bias.unflatten(0, (3, attention.num_heads, -1))[0]
    logits = y @ torch.einsum("bhe,hed->bhd", query * attention.scale, k_weight).mT
    return logits.softmax(1).mean(-1)[:, arriving.prefix :]


def _plain_attention(arriving: Arriving) -> Attention:
    attention = arriving.block._modules.get("attn")
    plain = isinstance(attention, Attention) and isinstance(attention.q_norm, nn.Identity)
    if isinstance(attention, Attention) and plain and "norm1" in arriving.block._modules and arriving.prefix:
        return attention
    raise ValueError(
        f"class_attention needs a class token and a block with norm1 and attention without query norms, not "
        f"{type(arriving.block).__name__} after {arriving.prefix} tokens; use another score, such as "
        "'capacity_independence'"
    )
