"""Vision models of transformers: classifiers, detectors, segmenters, depth, video, and text beside pictures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from third_party.entry import Entry, hugging_face, joined, noise, pictures, tokens

SMALL = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
VIT = {**SMALL, "image_size": 32, "patch_size": 8, "num_labels": 5}
STAGES = {"embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "image_size": 32, "patch_size": 2, "window_size": 4}
RESNET = {"embedding_size": 16, "hidden_sizes": [16, 32, 48, 64], "depths": [1, 1, 1, 1], "layer_type": "basic"}
DETR = {
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "num_queries": 6,
    "num_labels": 3,
}
TOWER = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}


def vision(name: str, model: str, config: str, size: int = 32, **settings: Any) -> Entry:
    return Entry(name, "transformers", "vision", hugging_face(model, config, **settings), pictures(size))


def detr(model: str, config: str, **settings: Any) -> Callable[[], nn.Module]:
    """A detector over a small ResNet of the same package."""

    def build() -> nn.Module:
        import transformers

        backbone = transformers.ResNetConfig(**RESNET, out_features=["stage4"])
        asked = {"backbone_config": backbone, "use_timm_backbone": False, "use_pretrained_backbone": False}
        return getattr(transformers, model)(getattr(transformers, config)(**DETR, **asked, **settings))

    return build


def mask2former() -> nn.Module:
    import transformers

    backbone = transformers.SwinConfig(
        image_size=64,
        patch_size=4,
        embed_dim=16,
        depths=[1, 1, 1, 1],
        num_heads=[2, 2, 4, 4],
        window_size=4,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = transformers.Mask2FormerConfig(
        backbone_config=backbone,
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=64,
        encoder_layers=1,
        decoder_layers=2,
        num_attention_heads=4,
        dim_feedforward=64,
        num_queries=6,
        num_labels=3,
    )
    return transformers.Mask2FormerForUniversalSegmentation(config)


def upernet() -> nn.Module:
    import transformers

    backbone = transformers.ConvNextConfig(
        depths=[1, 1, 1, 1], hidden_sizes=[16, 24, 32, 48], out_features=["stage1", "stage2", "stage3", "stage4"]
    )
    config = transformers.UperNetConfig(backbone_config=backbone, hidden_size=32, num_labels=5, auxiliary_channels=16)
    return transformers.UperNetForSemanticSegmentation(config)


def depth_anything() -> nn.Module:
    import transformers

    backbone = transformers.Dinov2Config(
        **SMALL, image_size=56, patch_size=14, out_features=["stage1", "stage2"], reshape_hidden_states=False
    )
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=64,
        neck_hidden_sizes=[16, 32],
        fusion_hidden_size=16,
        head_hidden_size=8,
        reassemble_factors=[2, 1],
    )
    return transformers.DepthAnythingForDepthEstimation(config)


def two_towers(model: str, config: str, **projection: Any) -> Callable[[], nn.Module]:
    text = {**TOWER, "vocab_size": 100, "max_position_embeddings": 32, "eos_token_id": 99, "bos_token_id": 1}
    seen = {**TOWER, "image_size": 32, "patch_size": 8}
    return hugging_face(model, config, text_config=text, vision_config=seen, **projection)


ENTRIES = [
    vision("vit", "ViTForImageClassification", "ViTConfig", **VIT),
    vision("deit", "DeiTForImageClassification", "DeiTConfig", **VIT),
    vision("beit", "BeitForImageClassification", "BeitConfig", **VIT),
    vision("dinov2", "Dinov2ForImageClassification", "Dinov2Config", **VIT),
    vision("dinov2_registers", "Dinov2WithRegistersForImageClassification", "Dinov2WithRegistersConfig", **VIT),
    vision("ijepa", "IJepaForImageClassification", "IJepaConfig", **VIT),
    vision("swin", "SwinForImageClassification", "SwinConfig", **STAGES, num_labels=5),
    vision("swinv2", "Swinv2ForImageClassification", "Swinv2Config", **STAGES, num_labels=5),
    vision(
        "convnext",
        "ConvNextForImageClassification",
        "ConvNextConfig",
        depths=[1, 1],
        hidden_sizes=[24, 48],
        num_stages=2,
        num_labels=5,
    ),
    vision(
        "convnextv2",
        "ConvNextV2ForImageClassification",
        "ConvNextV2Config",
        depths=[1, 1],
        hidden_sizes=[24, 48],
        num_stages=2,
        num_labels=5,
    ),
    vision("resnet", "ResNetForImageClassification", "ResNetConfig", 64, **RESNET, num_labels=5),
    vision(
        "regnet",
        "RegNetForImageClassification",
        "RegNetConfig",
        64,
        embedding_size=16,
        hidden_sizes=[16, 32, 48, 64],
        depths=[1, 1, 1, 1],
        groups_width=8,
        num_labels=5,
    ),
    vision(
        "mobilenet_v2", "MobileNetV2ForImageClassification", "MobileNetV2Config", 64, depth_multiplier=0.5, num_labels=5
    ),
    vision(
        "efficientnet",
        "EfficientNetForImageClassification",
        "EfficientNetConfig",
        64,
        width_coefficient=0.5,
        depth_coefficient=0.5,
        hidden_dim=640,
        num_labels=5,
    ),
    vision(
        "mobilevit",
        "MobileViTForImageClassification",
        "MobileViTConfig",
        64,
        hidden_sizes=[32, 40, 48],
        neck_hidden_sizes=[8, 16, 24, 32, 40, 48, 64],
        image_size=64,
        num_labels=5,
    ),
    vision(
        "poolformer",
        "PoolFormerForImageClassification",
        "PoolFormerConfig",
        64,
        hidden_sizes=[16, 32, 48, 64],
        depths=[1, 1, 1, 1],
        num_labels=5,
    ),
    vision(
        "pvt_v2",
        "PvtV2ForImageClassification",
        "PvtV2Config",
        64,
        hidden_sizes=[16, 32, 48, 64],
        depths=[1, 1, 1, 1],
        num_attention_heads=[1, 2, 4, 4],
        num_labels=5,
    ),
    vision(
        "levit",
        "LevitForImageClassification",
        "LevitConfig",
        64,
        image_size=64,
        hidden_sizes=[32, 48, 64],
        num_attention_heads=[2, 3, 4],
        depths=[1, 1, 1],
        key_dim=[8, 8, 8],
        num_labels=5,
    ),
    vision(
        "focalnet",
        "FocalNetForImageClassification",
        "FocalNetConfig",
        32,
        image_size=32,
        embed_dim=16,
        depths=[1, 1],
        hidden_sizes=[16, 32],
        focal_levels=[2, 2],
        focal_windows=[3, 3],
        num_labels=5,
    ),
    vision(
        "segformer",
        "SegformerForSemanticSegmentation",
        "SegformerConfig",
        64,
        hidden_sizes=[16, 32, 48, 64],
        depths=[1, 1, 1, 1],
        num_attention_heads=[1, 2, 3, 4],
        decoder_hidden_size=32,
        num_labels=5,
    ),
    vision(
        "glpn",
        "GLPNForDepthEstimation",
        "GLPNConfig",
        64,
        hidden_sizes=[16, 32, 48, 64],
        depths=[1, 1, 1, 1],
        num_attention_heads=[1, 2, 3, 4],
        decoder_hidden_size=16,
    ),
    vision(
        "yolos", "YolosForObjectDetection", "YolosConfig", **{**VIT, "image_size": [32, 32]}, num_detection_tokens=6
    ),
    vision(
        "swin2sr",
        "Swin2SRForImageSuperResolution",
        "Swin2SRConfig",
        16,
        image_size=16,
        embed_dim=24,
        depths=[2],
        num_heads=[4],
        window_size=4,
    ),
    Entry("detr", "transformers", "vision", detr("DetrForObjectDetection", "DetrConfig"), pictures(64)),
    Entry(
        "conditional_detr",
        "transformers",
        "vision",
        detr("ConditionalDetrForObjectDetection", "ConditionalDetrConfig"),
        pictures(64),
    ),
    Entry("mask2former", "transformers", "vision", mask2former, pictures(64)),
    Entry("upernet", "transformers", "vision", upernet, pictures(64)),
    Entry("depth_anything", "transformers", "vision", depth_anything, pictures(56)),
    Entry(
        "videomae",
        "transformers",
        "vision",
        hugging_face("VideoMAEForVideoClassification", "VideoMAEConfig", **VIT, num_frames=4),
        noise(4, 3, 32, 32),
    ),
    Entry(
        "timesformer",
        "transformers",
        "vision",
        hugging_face("TimesformerForVideoClassification", "TimesformerConfig", **VIT, num_frames=4),
        noise(4, 3, 32, 32),
    ),
    Entry(
        "clip",
        "transformers",
        "text beside pictures",
        two_towers("CLIPModel", "CLIPConfig", projection_dim=32),
        joined(tokens(), pictures(32)),
    ),
    Entry(
        "siglip",
        "transformers",
        "text beside pictures",
        two_towers("SiglipModel", "SiglipConfig"),
        joined(tokens(), pictures(32)),
    ),
]
