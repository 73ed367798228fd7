"""Super-resolution, denoising and edges: spandrel, kornia."""

from __future__ import annotations

from typing import Any

from third_party.audio import made
from third_party.entry import Entry, pictures


def spandrel(name: str, path: str, size: int = 16, **settings: Any) -> Entry:
    build = made(f"spandrel.architectures.{path}", **settings)
    return Entry(f"spandrel_{name}", "spandrel", "restoration", build, pictures(size))


ENTRIES = [
    spandrel("rrdbnet", "ESRGAN.__arch.RRDB.RRDBNet", num_filters=16, num_blocks=1),
    spandrel("compact", "Compact.__arch.SRVGG.SRVGGNetCompact", num_feat=16, num_conv=4),
    spandrel("nafnet", "NAFNet.NAFNet", width=8, middle_blk_num=1, enc_blk_nums=[1, 1], dec_blk_nums=[1, 1]),
    spandrel("swinir", "SwinIR.SwinIR", img_size=16, embed_dim=24, depths=[2], num_heads=[4], window_size=4),
    spandrel("dncnn", "DnCNN.DnCNN", in_nc=3, out_nc=3, nc=16, nb=4),
    spandrel("rcan", "RCAN.RCAN", n_resgroups=1, n_resblocks=2, n_feats=16),
    spandrel("omnisr", "OmniSR.OmniSR", num_feat=16, res_num=1, window_size=8),
    spandrel("plksr", "PLKSR.PLKSR", dim=16, n_blocks=2),
    Entry(
        "kornia_tiny_vit",
        "kornia",
        "vision",
        made(
            "kornia.models.tiny_vit.TinyViT",
            img_size=64,
            num_classes=5,
            embed_dims=(16, 32, 48, 64),
            depths=(1, 1, 1, 1),
            num_heads=(1, 2, 3, 4),
            window_sizes=(2, 2, 2, 2),
        ),
        pictures(64),
    ),
    Entry(
        "kornia_vit",
        "kornia",
        "vision",
        made("kornia.models.vit.VisionTransformer", image_size=32, patch_size=8, embed_dim=64, depth=2, num_heads=4),
        pictures(32),
    ),
    Entry(
        "kornia_dexined",
        "kornia",
        "edges",
        made("kornia.models.dexined.DexiNed", pretrained=False),
        pictures(64),
        batches=(1, 2),
    ),
]
