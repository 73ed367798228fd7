"""Language models of transformers, two layers each."""

from __future__ import annotations

from typing import Any

from third_party.entry import Entry, hugging_face, tokens

SMALL = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
TEXT = {"vocab_size": 100, "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
GROUPED = {**SMALL, **TEXT, "num_key_value_heads": 2}
MOE = {**GROUPED, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64}
OLD = {
    "n_embd": 64,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 64,
    "vocab_size": 100,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def decoder(name: str, model: str, config: str, **settings: Any) -> Entry:
    return Entry(name, "transformers", "decoder", hugging_face(model, config, **settings), tokens(), generates=True)


ENTRIES = [
    decoder("llama", "LlamaForCausalLM", "LlamaConfig", **GROUPED),
    decoder("llama_tied", "LlamaForCausalLM", "LlamaConfig", **GROUPED, tie_word_embeddings=True),
    decoder("qwen2", "Qwen2ForCausalLM", "Qwen2Config", **GROUPED),
    decoder("qwen3", "Qwen3ForCausalLM", "Qwen3Config", **GROUPED, head_dim=16),
    decoder("mistral", "MistralForCausalLM", "MistralConfig", **GROUPED),
    decoder("gemma", "GemmaForCausalLM", "GemmaConfig", **{**GROUPED, "num_key_value_heads": 1}, head_dim=16),
    decoder("gemma2", "Gemma2ForCausalLM", "Gemma2Config", **GROUPED, head_dim=16, query_pre_attn_scalar=16),
    decoder("gemma3", "Gemma3ForCausalLM", "Gemma3TextConfig", **GROUPED, head_dim=16, query_pre_attn_scalar=16),
    decoder("phi", "PhiForCausalLM", "PhiConfig", **SMALL, **TEXT),
    decoder("phi3", "Phi3ForCausalLM", "Phi3Config", **GROUPED),
    decoder("gpt2", "GPT2LMHeadModel", "GPT2Config", **OLD),
    decoder(
        "gpt_neo",
        "GPTNeoForCausalLM",
        "GPTNeoConfig",
        hidden_size=64,
        num_layers=2,
        num_heads=4,
        attention_types=[[["global", "local"], 1]],
        window_size=8,
        intermediate_size=128,
        **TEXT,
    ),
    decoder("gpt_neox", "GPTNeoXForCausalLM", "GPTNeoXConfig", **SMALL, **TEXT),
    decoder("gptj", "GPTJForCausalLM", "GPTJConfig", **OLD, rotary_dim=8, tie_word_embeddings=False),
    decoder("codegen", "CodeGenForCausalLM", "CodeGenConfig", **OLD, rotary_dim=8, tie_word_embeddings=False),
    decoder(
        "opt",
        "OPTForCausalLM",
        "OPTConfig",
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        ffn_dim=128,
        word_embed_proj_dim=64,
        **TEXT,
    ),
    decoder(
        "bloom",
        "BloomForCausalLM",
        "BloomConfig",
        hidden_size=64,
        n_layer=2,
        n_head=4,
        vocab_size=100,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    ),
    decoder(
        "falcon",
        "FalconForCausalLM",
        "FalconConfig",
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        vocab_size=100,
        bos_token_id=1,
        eos_token_id=2,
    ),
    decoder("mpt", "MptForCausalLM", "MptConfig", d_model=64, n_heads=4, n_layers=2, vocab_size=100, max_seq_len=64),
    decoder("stablelm", "StableLmForCausalLM", "StableLmConfig", **GROUPED),
    decoder("starcoder2", "Starcoder2ForCausalLM", "Starcoder2Config", **GROUPED),
    decoder("olmo2", "Olmo2ForCausalLM", "Olmo2Config", **GROUPED),
    decoder("cohere", "CohereForCausalLM", "CohereConfig", **GROUPED),
    decoder("granite", "GraniteForCausalLM", "GraniteConfig", **GROUPED),
    decoder("mixtral", "MixtralForCausalLM", "MixtralConfig", **GROUPED, num_local_experts=4),
    decoder("qwen2_moe", "Qwen2MoeForCausalLM", "Qwen2MoeConfig", **MOE, shared_expert_intermediate_size=64),
    decoder("qwen3_moe", "Qwen3MoeForCausalLM", "Qwen3MoeConfig", **MOE, head_dim=16),
    decoder(
        "mamba",
        "MambaForCausalLM",
        "MambaConfig",
        hidden_size=64,
        num_hidden_layers=2,
        state_size=8,
        vocab_size=100,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    ),
    decoder(
        "mamba2",
        "Mamba2ForCausalLM",
        "Mamba2Config",
        hidden_size=64,
        num_hidden_layers=2,
        state_size=8,
        num_heads=8,
        head_dim=16,
        n_groups=1,
        vocab_size=100,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    ),
]
