"""segmentation_models_pytorch: its decoders over small encoders."""

from __future__ import annotations

from typing import Any

from torch import nn

from third_party.entry import Entry, pictures


def smp(name: str, decoder: str, encoder: str = "resnet18", size: int = 64, **settings: Any) -> Entry:
    def build() -> nn.Module:
        import segmentation_models_pytorch as smp

        return getattr(smp, decoder)(encoder, encoder_weights=None, classes=3, **settings)

    return Entry(name, "segmentation_models_pytorch", "segmentation", build, pictures(size))


ENTRIES = [
    smp("smp_unet", "Unet"),
    smp("smp_unet_mobilenet", "Unet", "mobilenet_v2"),
    smp("smp_unet_efficientnet", "Unet", "efficientnet-b0"),
    smp("smp_unet_scse", "Unet", decoder_attention_type="scse"),
    smp("smp_unet_plus_plus", "UnetPlusPlus"),
    smp("smp_linknet", "Linknet"),
    smp("smp_fpn", "FPN"),
    smp("smp_pspnet", "PSPNet"),
    smp("smp_pan", "PAN", size=128),
    smp("smp_manet", "MAnet"),
    smp("smp_deeplabv3", "DeepLabV3"),
    smp("smp_deeplabv3_plus", "DeepLabV3Plus"),
    smp("smp_upernet", "UPerNet"),
    smp("smp_segformer", "Segformer", "mit_b0"),
]
