"""Text encoders and sequence-to-sequence models of transformers, two layers each."""

from __future__ import annotations

from typing import Any

from third_party.entry import Entry, fixed, hugging_face, joined, tokens

SMALL = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
TEXT = {"vocab_size": 100, "max_position_embeddings": 64, "pad_token_id": 0, "num_labels": 3}
BART = {
    "d_model": 64,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 128,
    "decoder_ffn_dim": 128,
    "vocab_size": 100,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
    "forced_eos_token_id": None,
}
T5 = {
    "d_model": 64,
    "d_kv": 16,
    "d_ff": 128,
    "num_layers": 2,
    "num_heads": 4,
    "vocab_size": 100,
    "decoder_start_token_id": 0,
}


def encoder(name: str, model: str, config: str, **settings: Any) -> Entry:
    return Entry(name, "transformers", "encoder", hugging_face(model, config, **settings), tokens())


def seq2seq(name: str, model: str, config: str, **settings: Any) -> Entry:
    """Called with ids, no mask, and the ids that the decoder has so far."""
    inputs = joined(tokens(), fixed(None), tokens(7))
    return Entry(name, "transformers", "sequence to sequence", hugging_face(model, config, **settings), inputs)


ENTRIES = [
    encoder("bert", "BertForSequenceClassification", "BertConfig", **SMALL, **TEXT),
    encoder("bert_masked_lm", "BertForMaskedLM", "BertConfig", **SMALL, **TEXT),
    encoder("roberta", "RobertaForSequenceClassification", "RobertaConfig", **SMALL, **TEXT),
    encoder(
        "distilbert",
        "DistilBertForSequenceClassification",
        "DistilBertConfig",
        dim=64,
        n_layers=2,
        n_heads=4,
        hidden_dim=128,
        **TEXT,
    ),
    encoder("albert", "AlbertForSequenceClassification", "AlbertConfig", **SMALL, **TEXT, embedding_size=32),
    encoder("electra", "ElectraForSequenceClassification", "ElectraConfig", **SMALL, **TEXT, embedding_size=32),
    encoder(
        "deberta_v2",
        "DebertaV2ForSequenceClassification",
        "DebertaV2Config",
        **SMALL,
        **TEXT,
        relative_attention=True,
        pos_att_type=["p2c", "c2p"],
        position_buckets=8,
    ),
    encoder("mpnet", "MPNetForSequenceClassification", "MPNetConfig", **SMALL, **TEXT),
    encoder(
        "modernbert",
        "ModernBertForSequenceClassification",
        "ModernBertConfig",
        **SMALL,
        **TEXT,
        cls_token_id=1,
        sep_token_id=2,
        bos_token_id=1,
        eos_token_id=2,
    ),
    encoder("convbert", "ConvBertForSequenceClassification", "ConvBertConfig", **SMALL, **TEXT, embedding_size=32),
    encoder("roformer", "RoFormerForSequenceClassification", "RoFormerConfig", **SMALL, **TEXT),
    encoder(
        "squeezebert", "SqueezeBertForSequenceClassification", "SqueezeBertConfig", **SMALL, **TEXT, embedding_size=64
    ),
    encoder(
        "fnet",
        "FNetForSequenceClassification",
        "FNetConfig",
        hidden_size=64,
        num_hidden_layers=2,
        intermediate_size=128,
        **TEXT,
    ),
    encoder(
        "funnel",
        "FunnelForSequenceClassification",
        "FunnelConfig",
        d_model=64,
        n_head=4,
        d_head=16,
        d_inner=128,
        block_sizes=[1, 1],
        vocab_size=100,
        num_labels=3,
    ),
    encoder("esm", "EsmForSequenceClassification", "EsmConfig", **SMALL, **TEXT, mask_token_id=4),
    encoder(
        "xlnet",
        "XLNetForSequenceClassification",
        "XLNetConfig",
        d_model=64,
        n_layer=2,
        n_head=4,
        d_inner=128,
        vocab_size=100,
        num_labels=3,
    ),
    seq2seq("t5", "T5ForConditionalGeneration", "T5Config", **T5),
    seq2seq("t5_gated", "T5ForConditionalGeneration", "T5Config", **T5, feed_forward_proj="gated-gelu"),
    seq2seq("bart", "BartForConditionalGeneration", "BartConfig", **BART),
    seq2seq("mbart", "MBartForConditionalGeneration", "MBartConfig", **BART),
    seq2seq("pegasus", "PegasusForConditionalGeneration", "PegasusConfig", **BART),
    seq2seq("marian", "MarianMTModel", "MarianConfig", **BART),
    seq2seq("m2m_100", "M2M100ForConditionalGeneration", "M2M100Config", **BART),
]
