"""LV-ViT, a vision transformer trained with a label for every token (Jiang et al., "All tokens matter", 2021).

Written from the paper and its published sizes: LV-ViT-S has 26.2 M parameters and 6.55 G MACs at 224 x 224, the dense
head included.
"""

from __future__ import annotations

from typing import Any

import torch
from timm.layers import DropPath, Mlp
from timm.models.vision_transformer import Attention
from torch import Tensor, nn

from infoprune.models.base import made_for, models

STEM_WIDTH = 64


class ConvolutionStem(nn.Module):
    """Three convolutions at half the resolution, then patches: [B, 3, H, W] to [B, H W / 16^2, dim]."""

    def __init__(self, img_size: tuple[int, int], in_chans: int, dim: int, patch: int = 16):
        super().__init__()
        if img_size[0] % patch or img_size[1] % patch:
            raise ValueError(f"img_size is {img_size}; both sides must be multiples of the patch size {patch}")
        self.img_size = img_size
        self.num_patches = (img_size[0] // patch) * (img_size[1] // patch)
        self.conv1 = nn.Conv2d(in_chans, STEM_WIDTH, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(STEM_WIDTH)
        self.conv2 = nn.Conv2d(STEM_WIDTH, STEM_WIDTH, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(STEM_WIDTH)
        self.conv3 = nn.Conv2d(STEM_WIDTH, STEM_WIDTH, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(STEM_WIDTH)
        self.proj = nn.Conv2d(STEM_WIDTH, dim, patch // 2, stride=patch // 2)

    def forward(self, x: Tensor) -> Tensor:
        if tuple(x.shape[-2:]) != self.img_size:
            raise ValueError(f"the image is {tuple(x.shape[-2:])}, the model was built for {self.img_size}")
        x = self.bn1(self.conv1(x)).relu()
        x = self.bn2(self.conv2(x)).relu()
        x = self.bn3(self.conv3(x)).relu()
        return self.proj(x).flatten(2).transpose(1, 2)


class Block(nn.Module):
    """Attention and MLP on a skip connection, each branch divided by `skip_lam`."""

    def __init__(self, dim: int, heads: int, mlp_ratio: float, skip_lam: float, drop_path: float):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = Attention(dim, num_heads=heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()
        self.skip_lam = skip_lam

    def forward(self, x: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x), attn_mask=attn_mask)) / self.skip_lam
        return x + self.drop_path(self.mlp(self.norm2(x))) / self.skip_lam


class LVViT(nn.Module):
    """In evaluation: class logits plus half of the largest token logits. In training: (class logits, token logits).

    Args:
        depth: How many blocks.
        dim: Width of a token.
        heads: Of each attention.
        skip_lam: What residual branches are divided by.
        mlp_ratio: Hidden channels of an MLP over `dim`.
        drop_path: The rate at which the last block is skipped in training; it rises from 0 at the first.
        num_classes: How many classes.
        in_chans: Channels of a picture.
        img_size: Its height and width.
        return_dense: Without it the token head is unused, and the class logits are all that comes back.
    """

    has_class_token = True
    num_prefix_tokens = 1
    embed_dim: int

    def __init__(
        self,
        *,
        depth: int,
        dim: int,
        heads: int,
        skip_lam: float,
        mlp_ratio: float = 3.0,
        drop_path: float = 0.1,
        num_classes: int = 1000,
        in_chans: int = 3,
        img_size: int | tuple[int, int] = 224,
        return_dense: bool = True,
    ):
        super().__init__()
        self.num_classes, self.in_chans, self.return_dense = num_classes, in_chans, return_dense
        size = (img_size, img_size) if isinstance(img_size, int) else (int(img_size[0]), int(img_size[1]))
        self.patch_embed = ConvolutionStem(size, in_chans, dim)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + self.patch_embed.num_patches, dim))
        rates = [drop_path * i / max(1, depth - 1) for i in range(depth)]
        self.blocks = nn.Sequential(*(Block(dim, heads, mlp_ratio, skip_lam, rate) for rate in rates))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, num_classes)
        self.aux_head = nn.Linear(dim, num_classes) if return_dense else nn.Identity()
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.apply(_initialise)

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed
        return self.norm(self.blocks(x))

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        x = self.forward_features(x)
        logits = self.head(x[:, 0])
        if not self.return_dense:
            return logits
        dense = self.aux_head(x[:, 1:])
        return (logits, dense) if self.training else logits + 0.5 * dense.amax(1)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


@models.register("lv_vit_tiny")
@made_for(3, 224, 224)
def lv_vit_tiny(**arguments: Any) -> LVViT:
    """12 blocks of width 240."""
    return LVViT(depth=12, dim=240, heads=4, skip_lam=1.0, **arguments)


@models.register("lv_vit_small")
@made_for(3, 224, 224)
def lv_vit_small(**arguments: Any) -> LVViT:
    """16 blocks of width 384: 26.2 M parameters, 6.55 G MACs."""
    return LVViT(depth=16, dim=384, heads=6, skip_lam=2.0, **arguments)


@models.register("lv_vit_medium")
@made_for(3, 224, 224)
def lv_vit_medium(**arguments: Any) -> LVViT:
    """20 blocks of width 512."""
    return LVViT(depth=20, dim=512, heads=8, skip_lam=2.0, **arguments)
