"""Parts of diffusion pipelines: noise predictors and autoencoders."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from third_party.entry import Entry, joined, noise

BLOCKS = {"block_out_channels": (32, 64), "layers_per_block": 1, "norm_num_groups": 8}
COUPLED = {
    "sample_size": 16,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "cross_attention_dim": 32,
    "attention_head_dim": 8,
    **BLOCKS,
}
AUTO = {
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
    "block_out_channels": (32, 64),
    "latent_channels": 4,
    "norm_num_groups": 8,
    "sample_size": 32,
}


def diffusers(name: str, **settings: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import diffusers

        return getattr(diffusers, name)(**settings)

    return build


def entry(name: str, build: Callable[[], nn.Module], *inputs: Any) -> Entry:
    return Entry(name, "diffusers", "diffusion", build, joined(*inputs))


def steps(batch: int) -> tuple[torch.Tensor]:
    """A time step for every example."""
    return (torch.arange(batch) * 7 + 3,)


def labels(batch: int) -> tuple[torch.Tensor]:
    return (torch.arange(batch) % 5,)


ENTRIES = [
    entry(
        "unet2d",
        diffusers(
            "UNet2DModel",
            sample_size=16,
            down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"),
            attention_head_dim=8,
            **BLOCKS,
        ),
        noise(3, 16, 16),
        steps,
    ),
    entry("unet2d_condition", diffusers("UNet2DConditionModel", **COUPLED), noise(4, 16, 16), steps, noise(6, 32)),
    entry(
        "controlnet",
        diffusers(
            "ControlNetModel",
            **{k: v for k, v in COUPLED.items() if k not in ("sample_size", "up_block_types")},
            conditioning_embedding_out_channels=(16, 32),
        ),
        noise(4, 16, 16),
        steps,
        noise(6, 32),
        noise(3, 32, 32),
    ),
    entry("autoencoder_kl", diffusers("AutoencoderKL", **AUTO), noise(3, 32, 32)),
    entry("vq_model", diffusers("VQModel", **AUTO, num_vq_embeddings=32), noise(3, 32, 32)),
    entry(
        "autoencoder_tiny",
        diffusers(
            "AutoencoderTiny",
            encoder_block_out_channels=(16, 16),
            decoder_block_out_channels=(16, 16),
            num_encoder_blocks=(1, 1),
            num_decoder_blocks=(1, 1),
        ),
        noise(3, 32, 32),
    ),
    entry(
        "dit",
        diffusers(
            "DiTTransformer2DModel",
            num_attention_heads=4,
            attention_head_dim=16,
            in_channels=4,
            out_channels=8,
            num_layers=2,
            sample_size=8,
            patch_size=2,
            num_embeds_ada_norm=5,
            norm_num_groups=8,
        ),
        noise(4, 8, 8),
        steps,
        labels,
    ),
    entry(
        "pixart",
        diffusers(
            "PixArtTransformer2DModel",
            num_attention_heads=4,
            attention_head_dim=16,
            num_layers=2,
            cross_attention_dim=64,
            caption_channels=32,
            sample_size=8,
            patch_size=2,
            norm_num_groups=8,
        ),
        noise(4, 8, 8),
        noise(6, 32),
        steps,
    ),
    entry(
        "transformer_temporal",
        diffusers(
            "TransformerTemporalModel", num_attention_heads=4, attention_head_dim=8, in_channels=32, norm_num_groups=8
        ),
        noise(32, 8, 8),
    ),
]
