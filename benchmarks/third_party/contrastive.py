"""Two towers, one for pictures and one for words, and heads of self-supervision: open_clip, lightly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from third_party.entry import Entry, joined, pictures, tokens

TEXT = {"context_length": 16, "vocab_size": 100, "width": 64, "heads": 4, "layers": 2}
PATCHES = {"image_size": 32, "patch_size": 8, "width": 64, "layers": 2, "head_width": 16}
BOTH = joined(pictures(32), tokens(16))


def open_clip(name: str, **settings: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import open_clip

        return getattr(open_clip, name)(**settings)

    return build


def with_head(head: str, *widths: int) -> Callable[[], nn.Module]:
    """A small ResNet under a projection head of lightly."""

    def build() -> nn.Module:
        import torchvision
        from lightly.models.modules import heads

        backbone = torchvision.models.resnet18()
        backbone.fc = nn.Identity()
        return nn.Sequential(backbone, getattr(heads, head)(512, *widths))

    return build


def generator() -> nn.Module:
    from lightly.models import ResNetGenerator

    return ResNetGenerator("resnet-9", num_classes=5, width=0.5)


COCA = {"heads": 4, "layers": 2, "width": 64, "context_length": 16, "vocab_size": 100}
ENTRIES = [
    Entry(
        "open_clip_vit",
        "open_clip_torch",
        "contrastive",
        open_clip("CLIP", embed_dim=32, vision_cfg=PATCHES, text_cfg=TEXT),
        BOTH,
    ),
    Entry(
        "open_clip_resnet",
        "open_clip_torch",
        "contrastive",
        open_clip(
            "CLIP",
            embed_dim=32,
            vision_cfg={"image_size": 64, "layers": (1, 1, 1, 1), "width": 8, "head_width": 16, "patch_size": None},
            text_cfg=TEXT,
        ),
        joined(pictures(64), tokens(16)),
    ),
    Entry(
        "open_clip_custom_text",
        "open_clip_torch",
        "contrastive",
        open_clip("CustomTextCLIP", embed_dim=32, vision_cfg=PATCHES, text_cfg=TEXT),
        BOTH,
    ),
    Entry(
        "open_clip_coca",
        "open_clip_torch",
        "contrastive",
        open_clip(
            "CoCa",
            embed_dim=64,
            multimodal_cfg=COCA,
            vision_cfg={**PATCHES, "attentional_pool": True, "attn_pooler_heads": 4, "output_tokens": True},
            text_cfg={**TEXT, "embed_cls": True, "output_tokens": True},
        ),
        joined(pictures(32), tokens(15)),
    ),
    Entry("lightly_simclr", "lightly", "self-supervised", with_head("SimCLRProjectionHead", 64, 32), pictures(64)),
    Entry("lightly_byol", "lightly", "self-supervised", with_head("BYOLProjectionHead", 128, 32), pictures(64)),
    Entry("lightly_dino", "lightly", "self-supervised", with_head("DINOProjectionHead", 64, 32, 100), pictures(64)),
    Entry("lightly_resnet9", "lightly", "self-supervised", generator, pictures(32)),
]
