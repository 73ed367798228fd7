"""torchvision's detectors at the size of a test: a ResNet-18 or less, images of 64 pixels, few boxes."""

from __future__ import annotations

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models import detection
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.keypoint_rcnn import KeypointRCNNHeads, KeypointRCNNPredictor
from torchvision.ops import FrozenBatchNorm2d

SIZE = 64
IMAGES = {"min_size": SIZE, "max_size": SIZE, "num_classes": 4}
BOXES = {"rpn_post_nms_top_n_test": 12, "box_detections_per_img": 6}


def backbone(norm: type[nn.Module] = nn.BatchNorm2d) -> nn.Module:
    return resnet_fpn_backbone(backbone_name="resnet18", weights=None, norm_layer=norm, trainable_layers=5)


def mask_rcnn(norm: type[nn.Module] = nn.BatchNorm2d) -> nn.Module:
    torch.manual_seed(0)
    return settled_norms(detection.MaskRCNN(backbone(norm), **IMAGES, **BOXES).eval())


def settled_norms(model: nn.Module) -> nn.Module:
    """Its batch norms, frozen ones too, have statistics that are not the identity."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | FrozenBatchNorm2d):
            for name, low, high in (("running_mean", -0.1, 0.1), ("running_var", 0.5, 1.5)):
                getattr(module, name).uniform_(low, high)
    return model


def faster_rcnn() -> nn.Module:
    torch.manual_seed(0)
    return detection.fasterrcnn_mobilenet_v3_large_320_fpn(
        weights=None, weights_backbone=None, **IMAGES, **BOXES
    ).eval()  # fmt: skip


def keypoint_rcnn() -> nn.Module:
    torch.manual_seed(0)
    heads = {"keypoint_head": KeypointRCNNHeads(256, (32, 32)), "keypoint_predictor": KeypointRCNNPredictor(32, 5)}
    return detection.KeypointRCNN(backbone(), **{**IMAGES, "num_classes": None}, **BOXES, **heads,
                                  box_predictor=FastRCNNPredictor(1024, 2)).eval()  # fmt: skip


def retina_net() -> nn.Module:
    torch.manual_seed(0)
    return detection.RetinaNet(backbone(), **IMAGES).eval()


def fcos() -> nn.Module:
    torch.manual_seed(0)
    return detection.FCOS(backbone(), **IMAGES).eval()


def ssd_lite() -> nn.Module:
    torch.manual_seed(0)
    return loud(detection.ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None).eval())


def loud(model: nn.Module) -> nn.Module:
    """Some layers are drawn so small that nothing but biases would reach the outputs."""
    for layer in (m for m in model.modules() if isinstance(m, nn.Conv2d)):
        nn.init.kaiming_normal_(layer.weight)
    return model


def lraspp() -> nn.Module:
    torch.manual_seed(0)
    return loud(torchvision.models.segmentation.lraspp_mobilenet_v3_large(weights_backbone=None, num_classes=4).eval())


def image() -> Tensor:
    return torch.rand(3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


def targets() -> list[dict[str, Tensor]]:
    """Two boxes with their masks."""
    boxes = torch.tensor([[4.0, 4.0, 30.0, 30.0], [20.0, 10.0, 60.0, 50.0]])
    masks = torch.zeros(2, SIZE, SIZE, dtype=torch.uint8)
    for mask, (left, top, right, bottom) in zip(masks, boxes.int().tolist(), strict=True):
        mask[top:bottom, left:right] = 1
    return [{"boxes": boxes, "labels": torch.tensor([1, 3]), "masks": masks}]
