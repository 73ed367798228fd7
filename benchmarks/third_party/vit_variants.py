"""Transformers written with einops: vit-pytorch, x-transformers, linformer; and SAM's encoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from third_party.audio import made
from third_party.entry import Entry, noise, pictures, tokens

VIT = {"image_size": 32, "patch_size": 8, "num_classes": 5, "dim": 64, "depth": 2, "heads": 4, "mlp_dim": 128}


def vit(name: str, path: str, size: int = 32, **settings: Any) -> Entry:
    return Entry(
        f"vit_pytorch_{name}", "vit-pytorch", "vision", made(f"vit_pytorch.{path}", **settings), pictures(size)
    )


def words(attention: str, **settings: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import x_transformers

        layers = getattr(x_transformers, attention)(dim=64, depth=2, heads=4, attn_dim_head=16, **settings)
        return x_transformers.TransformerWrapper(num_tokens=100, max_seq_len=32, attn_layers=layers)

    return build


def x_vision() -> nn.Module:
    import x_transformers

    layers = x_transformers.Encoder(dim=64, depth=2, heads=4, attn_dim_head=16)
    return x_transformers.ViTransformerWrapper(image_size=32, patch_size=8, num_classes=5, attn_layers=layers)


ENTRIES = [
    vit("vit", "ViT", **VIT),
    vit("simple", "SimpleViT", **VIT),
    vit("deep", "deepvit.DeepViT", **VIT),
    vit("cait", "cait.CaiT", **VIT, cls_depth=1),
    vit(
        "cct",
        "cct.CCT",
        img_size=32,
        embedding_dim=64,
        n_conv_layers=1,
        kernel_size=7,
        stride=2,
        padding=3,
        num_layers=2,
        num_heads=4,
        mlp_ratio=2.0,
        num_classes=5,
        positional_embedding="learnable",
    ),
    vit("pit", "pit.PiT", **{**VIT, "depth": (1, 1)}),
    vit(
        "cvt",
        "cvt.CvT",
        64,
        num_classes=5,
        s1_emb_dim=16,
        s2_emb_dim=32,
        s3_emb_dim=48,
        s1_heads=1,
        s2_heads=2,
        s3_heads=3,
        s1_depth=1,
        s2_depth=1,
        s3_depth=1,
    ),
    vit("cross_former", "crossformer.CrossFormer", 224, dim=(32, 32, 64, 64), depth=(1, 1, 1, 1), num_classes=5),
    vit("xcit", "xcit.XCiT", **VIT, cls_depth=1),
    vit(
        "nest",
        "nest.NesT",
        image_size=32,
        patch_size=4,
        dim=32,
        heads=2,
        num_hierarchies=2,
        block_repeats=(1, 1),
        num_classes=5,
    ),
    vit("qk_norm", "simple_vit_with_qk_norm.SimpleViT", **VIT),
    vit("parallel", "parallel_vit.ViT", **VIT, num_parallel_branches=2),
    Entry("x_transformers_decoder", "x-transformers", "decoder", words("Decoder", rotary_pos_emb=True), tokens()),
    Entry(
        "x_transformers_grouped",
        "x-transformers",
        "decoder",
        words("Decoder", attn_kv_heads=2, use_rmsnorm=True, ff_glu=True, rotary_pos_emb=True),
        tokens(),
    ),
    Entry("x_transformers_encoder", "x-transformers", "encoder", words("Encoder", alibi_pos_bias=True), tokens()),
    Entry("x_transformers_vit", "x-transformers", "vision", x_vision, pictures(32)),
    Entry(
        "linformer",
        "linformer",
        "encoder",
        made("linformer.Linformer", dim=64, seq_len=16, depth=2, heads=4, k=8),
        noise(16, 64),
    ),
    Entry(
        "segment_anything",
        "segment-anything-py",
        "vision",
        made(
            "segment_anything.modeling.image_encoder.ImageEncoderViT",
            img_size=64,
            patch_size=8,
            embed_dim=64,
            depth=2,
            num_heads=4,
            out_chans=16,
            use_rel_pos=True,
            window_size=4,
            global_attn_indexes=(1,),
        ),
        pictures(64),
    ),
]
