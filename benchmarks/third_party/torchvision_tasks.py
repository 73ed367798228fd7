"""torchvision beyond classification: segmentation, detection, video and optical flow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from third_party.entry import Entry, joined, noise, pictures


def torchvision(part: str, name: str, **settings: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import importlib

        module = importlib.import_module(f"torchvision.models.{part}")
        without = {"weights": None, **settings}
        if part in ("segmentation", "detection"):
            without["weights_backbone"] = None
        return getattr(module, name)(**without)

    return build


def entry(kind: str, name: str, inputs: Any, **settings: Any) -> Entry:
    return Entry(name, "torchvision", kind, torchvision(kind, name, **settings), inputs, batches=(1, 2))


def listed(size: int) -> Callable[[int], tuple[list[torch.Tensor]]]:
    """Detectors take a list of pictures in [0, 1]."""
    return lambda batch: (
        [torch.rand(3, size, size, generator=torch.Generator().manual_seed(i)) for i in range(batch)],
    )


SMALL = {"min_size": 96, "max_size": 128, "num_classes": 5}
ENTRIES = [
    entry("segmentation", "lraspp_mobilenet_v3_large", pictures(64)),
    entry("segmentation", "deeplabv3_mobilenet_v3_large", pictures(64), aux_loss=True),
    entry("segmentation", "fcn_resnet50", pictures(64)),
    entry("segmentation", "deeplabv3_resnet50", pictures(64)),
    entry("detection", "fasterrcnn_mobilenet_v3_large_320_fpn", listed(96), **SMALL),
    entry("detection", "ssdlite320_mobilenet_v3_large", listed(96), num_classes=5),
    entry("detection", "retinanet_resnet50_fpn", listed(96), **SMALL),
    entry("detection", "fcos_resnet50_fpn", listed(96), **SMALL),
    entry("detection", "maskrcnn_resnet50_fpn", listed(96), **SMALL),
    entry("detection", "keypointrcnn_resnet50_fpn", listed(96), min_size=96, max_size=128),
    entry("video", "r3d_18", noise(3, 4, 32, 32)),
    entry("video", "mc3_18", noise(3, 4, 32, 32)),
    entry("video", "r2plus1d_18", noise(3, 4, 32, 32)),
    entry("video", "s3d", noise(3, 16, 224, 224)),
    entry("video", "swin3d_t", noise(3, 4, 32, 32)),
    entry("optical_flow", "raft_small", joined(noise(3, 128, 128), noise(3, 128, 128))),
    entry("optical_flow", "raft_large", joined(noise(3, 128, 128), noise(3, 128, 128))),
]
