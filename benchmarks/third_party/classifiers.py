"""Convolutional networks of packages beside timm: pytorchcv, efficientnet_pytorch, facenet-pytorch, effdet."""

from __future__ import annotations

from torch import nn

from third_party.audio import made
from third_party.entry import Entry, pictures


def pytorchcv(name: str, size: int = 224) -> Entry:
    build = made("pytorchcv.model_provider.get_model", name, pretrained=False)
    return Entry(f"pytorchcv_{name}", "pytorchcv", "vision", build, pictures(size))


def efficientnet() -> nn.Module:
    from efficientnet_pytorch import EfficientNet

    return EfficientNet.from_name("efficientnet-b0", num_classes=5)


def detector() -> nn.Module:
    import effdet

    config = effdet.get_efficientdet_config("tf_efficientdet_lite0")
    config.image_size, config.num_classes = (128, 128), 3
    return effdet.EfficientDet(config, pretrained_backbone=False)


ENTRIES = [
    pytorchcv("preresnet10"),
    pytorchcv("seresnet10"),
    pytorchcv("shufflenetv2_wd2"),
    pytorchcv("shufflenet_g3_wd4"),
    pytorchcv("squeezenet_v1_1"),
    pytorchcv("menet108_8x1_g3"),
    pytorchcv("igcv3_wd4"),
    pytorchcv("hardnet39ds"),
    pytorchcv("diapreresnet20_cifar10", 32),
    pytorchcv("fishnet99"),
    Entry("efficientnet_pytorch", "efficientnet_pytorch", "vision", efficientnet, pictures(64)),
    Entry(
        "facenet_resnet",
        "facenet-pytorch",
        "vision",
        made("facenet_pytorch.InceptionResnetV1", pretrained=None, num_classes=5),
        pictures(96),
    ),
    Entry("efficientdet", "effdet", "detection", detector, pictures(128), batches=(1, 2)),
]
