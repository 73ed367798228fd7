"""Where a vision transformer's tokens flow: its blocks in order, the tokens before the patches, the image it takes."""

from __future__ import annotations

from dataclasses import dataclass

from timm.models.vision_transformer import Attention, VisionTransformer
from torch import nn

from infoprune.errors import Untraceable
from infoprune.models.lv_vit import LVViT

SUPPORTED = "timm's VisionTransformer (ViT, DeiT, DeiT-3, DINOv2) and infoprune.models.LVViT"


@dataclass(frozen=True)
class TokenLayout:
    """`blocks` are module names in the order in which tokens pass; `prefix` class and register tokens come first.

    `patches` tokens of width `dim` follow for an `image` of (channels, height, width). `transformer` is the name of the
    module that holds all this, empty if it is the model itself; `embedding` that of the weight that makes the patches,
    a row a channel.
    """

    transformer: str
    blocks: tuple[str, ...]
    prefix: int
    class_token: bool
    patches: int
    dim: int
    heads: int
    image: tuple[int, int, int]
    embedding: str


def token_layout(model: nn.Module) -> TokenLayout:
    """The layout of the only vision transformer in `model`."""
    transformers = [(name, m) for name, m in model.named_modules() if isinstance(m, VisionTransformer | LVViT)]
    if len(transformers) != 1:
        raise Untraceable(
            f"{type(model).__name__} holds {len(transformers)} vision transformers whose tokens can leave, not 1; "
            f"known: {SUPPORTED}; pass the one to thin out"
        )
    name, vit = transformers[0]
    inside = f"{name}." if name else ""
    size: tuple[int, int] | None = vit.patch_embed.img_size
    if size is None or vit.patch_embed.num_patches is None:
        raise Untraceable(f"{name or type(model).__name__} was built without an image size; build it with img_size=")
    channels = next(m.in_channels for m in vit.patch_embed.modules() if isinstance(m, nn.Conv2d))
    return TokenLayout(
        name,
        tuple(f"{inside}blocks.{child}" for child, _ in vit.blocks.named_children()),
        vit.num_prefix_tokens,
        vit.has_class_token,
        vit.patch_embed.num_patches,
        vit.pos_embed.shape[-1] if vit.pos_embed is not None else vit.embed_dim,
        next((m.num_heads for m in vit.blocks.modules() if isinstance(m, Attention)), 1),
        (channels, size[0], size[1]),
        f"{inside}patch_embed.proj.weight",
    )
