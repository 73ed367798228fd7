"""Speech and sound models of transformers."""

from __future__ import annotations

from typing import Any

from third_party.entry import Entry, fixed, hugging_face, joined, noise, tokens

SMALL = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
WAVES = {
    **SMALL,
    "conv_dim": (32, 32, 32),
    "conv_stride": (5, 4, 2),
    "conv_kernel": (10, 8, 4),
    "vocab_size": 20,
    "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
WHISPER = {
    "d_model": 64,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 128,
    "decoder_ffn_dim": 128,
    "vocab_size": 100,
    "num_mel_bins": 16,
    "max_source_positions": 20,
    "max_target_positions": 32,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}


def waves(name: str, model: str, config: str, **settings: Any) -> Entry:
    return Entry(name, "transformers", "audio", hugging_face(model, config, **{**WAVES, **settings}), noise(1600))


ENTRIES = [
    waves("wav2vec2", "Wav2Vec2ForCTC", "Wav2Vec2Config"),
    waves(
        "wav2vec2_layer_norm", "Wav2Vec2ForCTC", "Wav2Vec2Config", feat_extract_norm="layer", do_stable_layer_norm=True
    ),
    waves("hubert", "HubertForCTC", "HubertConfig"),
    waves("wavlm", "WavLMForCTC", "WavLMConfig"),
    waves("sew", "SEWForCTC", "SEWConfig", squeeze_factor=1),
    waves("wav2vec2_conformer", "Wav2Vec2ConformerForCTC", "Wav2Vec2ConformerConfig"),
    Entry(
        "whisper",
        "transformers",
        "audio",
        hugging_face("WhisperForConditionalGeneration", "WhisperConfig", **WHISPER),
        joined(noise(16, 40), fixed(None), tokens(7)),
    ),
    Entry(
        "audio_spectrogram",
        "transformers",
        "audio",
        hugging_face(
            "ASTForAudioClassification",
            "ASTConfig",
            **SMALL,
            num_mel_bins=16,
            max_length=32,
            patch_size=8,
            frequency_stride=8,
            time_stride=8,
            num_labels=5,
        ),
        noise(32, 16),
    ),
    Entry(
        "speech_to_text",
        "transformers",
        "audio",
        hugging_face(
            "Speech2TextForConditionalGeneration",
            "Speech2TextConfig",
            **{
                **{k: v for k, v in WHISPER.items() if k != "num_mel_bins"},
                "input_feat_per_channel": 16,
                "conv_channels": 32,
                "max_source_positions": 64,
            },
        ),
        joined(noise(40, 16), fixed(None), tokens(7)),
    ),
]
