"""pytorchvideo."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from third_party.entry import Entry, noise


def pytorchvideo(name: str, **settings: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import importlib

        module, _, function = name.rpartition(".")
        return getattr(importlib.import_module(f"pytorchvideo.models.{module}"), function)(**settings)

    return build


def pathways(batch: int) -> tuple[list[torch.Tensor]]:
    """SlowFast takes few frames and many."""
    return ([*noise(3, 4, 64, 64)(batch), *noise(3, 16, 64, 64)(batch)],)


CLIP = noise(3, 4, 64, 64)
ENTRIES = [
    Entry(
        "pytorchvideo_slow",
        "pytorchvideo",
        "video",
        pytorchvideo(
            "resnet.create_resnet", model_depth=50, model_num_class=5, stem_dim_out=16, head_pool_kernel_size=(4, 2, 2)
        ),
        CLIP,
        batches=(1, 2),
    ),
    Entry(
        "pytorchvideo_x3d",
        "pytorchvideo",
        "video",
        pytorchvideo(
            "x3d.create_x3d",
            input_clip_length=4,
            input_crop_size=64,
            model_num_class=5,
            width_factor=1.0,
            depth_factor=1.0,
        ),
        CLIP,
        batches=(1, 2),
    ),
    Entry(
        "pytorchvideo_csn",
        "pytorchvideo",
        "video",
        pytorchvideo(
            "csn.create_csn", model_depth=50, model_num_class=5, stem_dim_out=16, head_pool_kernel_size=(1, 2, 2)
        ),
        noise(3, 8, 64, 64),
        batches=(1, 2),
    ),
    Entry(
        "pytorchvideo_slowfast",
        "pytorchvideo",
        "video",
        pytorchvideo(
            "slowfast.create_slowfast",
            model_num_class=5,
            slowfast_channel_reduction_ratio=(4,),
            stem_dim_outs=(16, 4),
            head_pool_kernel_sizes=((4, 2, 2), (16, 2, 2)),
        ),
        pathways,
        batches=(1, 2),
    ),
    Entry(
        "pytorchvideo_mvit",
        "pytorchvideo",
        "video",
        pytorchvideo(
            "vision_transformers.create_multiscale_vision_transformers",
            spatial_size=32,
            temporal_size=4,
            depth=2,
            patch_embed_dim=32,
            num_heads=2,
            head_num_classes=5,
            conv_patch_embed_kernel=(3, 7, 7),
            embed_dim_mul=[[1, 2.0]],
            atten_head_mul=[[1, 2.0]],
            pool_q_stride_size=[[1, 1, 2, 2]],
            pool_kv_stride_adaptive=[1, 2, 2],
            pool_kvq_kernel=[3, 3, 3],
        ),
        noise(3, 4, 32, 32),
        batches=(1, 2),
    ),
]
