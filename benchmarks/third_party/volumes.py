"""MONAI: networks for volumes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from third_party.entry import Entry, noise

STEPS = {"kernel_size": [3, 3, 3], "strides": [1, 2, 2], "upsample_kernel_size": [2, 2]}


def monai(name: str, /, *args: Any, **settings: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import monai.networks.nets

        return getattr(monai.networks.nets, name)(*args, **settings)

    return build


def volume(name: str, build: Callable[[], nn.Module], size: int = 16, channels: int = 1) -> Entry:
    return Entry(name, "monai", "volumes", build, noise(channels, size, size, size), batches=(1, 2))


INOUT = {"in_channels": 1, "out_channels": 3}
ENTRIES = [
    volume("monai_unet", monai("UNet", spatial_dims=3, **INOUT, channels=(8, 16, 32), strides=(2, 2), num_res_units=2)),
    volume("monai_basic_unet", monai("BasicUNet", spatial_dims=3, **INOUT, features=(8, 8, 16, 32, 64, 8)), 32),
    volume(
        "monai_attention_unet", monai("AttentionUnet", spatial_dims=3, **INOUT, channels=(8, 16, 32), strides=(2, 2))
    ),
    volume("monai_segresnet", monai("SegResNet", spatial_dims=3, init_filters=8, **INOUT)),
    volume("monai_dynunet", monai("DynUNet", spatial_dims=3, **INOUT, **STEPS, filters=[8, 16, 32])),
    volume("monai_vnet", monai("VNet", spatial_dims=3, **INOUT)),
    volume(
        "monai_unetr",
        monai("UNETR", **INOUT, img_size=(32, 32, 32), feature_size=8, hidden_size=48, mlp_dim=96, num_heads=4),
        32,
    ),
    volume(
        "monai_swin_unetr",
        monai("SwinUNETR", **INOUT, feature_size=12, depths=(1, 1, 1, 1), num_heads=(2, 2, 4, 4)),
        64,
    ),
    volume(
        "monai_densenet",
        monai("DenseNet", spatial_dims=3, **INOUT, init_features=16, growth_rate=8, block_config=(2, 2, 2)),
    ),
    volume(
        "monai_vit",
        monai(
            "ViT",
            in_channels=1,
            img_size=(16, 16, 16),
            patch_size=(8, 8, 8),
            hidden_size=48,
            mlp_dim=96,
            num_layers=2,
            num_heads=4,
            classification=True,
            num_classes=3,
        ),
    ),
]
