"""Speech, separation and codecs: torchaudio, speechbrain, demucs, openunmix, vocos, encodec, conformer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from third_party.entry import Entry, joined, noise


def made(path: str, /, *args: Any, **settings: Any) -> Callable[[], nn.Module]:
    """A builder of the class or function at a dotted path."""

    def build() -> nn.Module:
        import importlib

        module, _, name = path.rpartition(".")
        return getattr(importlib.import_module(module), name)(*args, **settings)

    return build


def lengths(longest: int) -> Callable[[int], tuple[torch.Tensor]]:
    """How much of every example counts; the first is whole."""
    return lambda batch: (torch.tensor([longest - 2 * i for i in range(batch)]),)


WAVES = {
    "extractor_mode": "group_norm",
    "extractor_conv_layer_config": [(32, 10, 5), (32, 8, 4)],
    "extractor_conv_bias": False,
    "encoder_embed_dim": 64,
    "encoder_projection_dropout": 0.0,
    "encoder_pos_conv_kernel": 16,
    "encoder_pos_conv_groups": 4,
    "encoder_num_layers": 2,
    "encoder_num_heads": 4,
    "encoder_attention_dropout": 0.0,
    "encoder_ff_interm_features": 128,
    "encoder_ff_interm_dropout": 0.0,
    "encoder_dropout": 0.0,
    "encoder_layer_norm_first": False,
    "encoder_layer_drop": 0.0,
    "aux_num_out": 20,
}
ENTRIES = [
    Entry(
        "torchaudio_conv_tasnet",
        "torchaudio",
        "audio",
        made(
            "torchaudio.models.ConvTasNet",
            enc_num_feats=32,
            msk_num_feats=16,
            msk_num_hidden_feats=32,
            msk_num_layers=2,
            msk_num_stacks=2,
        ),
        noise(1, 800),
    ),
    Entry(
        "torchaudio_conformer",
        "torchaudio",
        "audio",
        made(
            "torchaudio.models.Conformer",
            input_dim=32,
            num_heads=4,
            ffn_dim=64,
            num_layers=2,
            depthwise_conv_kernel_size=7,
        ),
        joined(noise(20, 32), lengths(20)),
    ),
    Entry(
        "torchaudio_wav2letter",
        "torchaudio",
        "audio",
        made("torchaudio.models.Wav2Letter", num_classes=20, input_type="mfcc", num_features=13),
        noise(13, 60),
    ),
    Entry(
        "torchaudio_deepspeech",
        "torchaudio",
        "audio",
        made("torchaudio.models.DeepSpeech", n_feature=16, n_hidden=64, n_class=20),
        noise(1, 20, 16),
    ),
    Entry("torchaudio_wav2vec2", "torchaudio", "audio", made("torchaudio.models.wav2vec2_model", **WAVES), noise(800)),
    Entry(
        "torchaudio_hdemucs",
        "torchaudio",
        "audio",
        made("torchaudio.models.HDemucs", sources=["a", "b"], audio_channels=1, channels=16, nfft=1024, depth=4),
        noise(1, 8192),
        batches=(1, 2),
    ),
    Entry(
        "speechbrain_ecapa",
        "speechbrain",
        "audio",
        made(
            "speechbrain.lobes.models.ECAPA_TDNN.ECAPA_TDNN",
            20,
            channels=[32, 32, 32, 32, 96],
            lin_neurons=24,
            attention_channels=16,
            se_channels=16,
        ),
        noise(40, 20),
    ),
    Entry(
        "speechbrain_xvector",
        "speechbrain",
        "audio",
        made(
            "speechbrain.lobes.models.Xvector.Xvector",
            in_channels=20,
            tdnn_channels=[32, 32, 64],
            tdnn_kernel_sizes=[5, 3, 1],
            tdnn_dilations=[1, 2, 1],
            lin_neurons=32,
            tdnn_blocks=3,
        ),
        noise(40, 20),
    ),
    Entry(
        "demucs",
        "demucs",
        "audio",
        made(
            "demucs.demucs.Demucs",
            ["a", "b"],
            audio_channels=1,
            channels=8,
            depth=3,
            lstm_layers=0,
            resample=False,
            dconv_attn=9,
            dconv_lstm=9,
        ),
        noise(1, 2048),
    ),
    Entry(
        "openunmix",
        "openunmix",
        "audio",
        made("openunmix.model.OpenUnmix", nb_bins=65, nb_channels=1, hidden_size=32, nb_layers=1),
        noise(1, 65, 12),
    ),
    Entry(
        "vocos_backbone",
        "vocos",
        "audio",
        made("vocos.models.VocosBackbone", input_channels=16, dim=64, intermediate_dim=128, num_layers=2),
        noise(16, 30),
    ),
    Entry(
        "encodec_encoder",
        "encodec",
        "audio",
        made("encodec.modules.SEANetEncoder", channels=1, dimension=32, n_filters=8, ratios=[4, 2], lstm=0),
        noise(1, 640),
    ),
    Entry(
        "conformer",
        "conformer",
        "audio",
        made("conformer.Conformer", dim=64, depth=2, dim_head=16, heads=4, conv_kernel_size=7),
        noise(20, 64),
    ),
]
