"""Decoders of the transformers package with random weights, small enough for a second each."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

WORDS = {"vocab_size": 60, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
SMALL = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48,
         "max_position_embeddings": 64}  # fmt: skip
GROUPED = {**SMALL, "num_key_value_heads": 2}
FEW = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
OLD = {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64}

DECODERS: dict[str, dict[str, Any]] = {
    "Llama": GROUPED,
    "Qwen2": GROUPED,
    "Qwen3": {**GROUPED, "head_dim": 8},
    "Mistral": {**GROUPED, "sliding_window": 8},
    "Gemma": {**GROUPED, "head_dim": 8},
    "Phi": {**SMALL, "partial_rotary_factor": 0.5},
    "GPT2": OLD,
    "GPTNeoX": SMALL,
    "OPT": {**SMALL, "ffn_dim": 48, "word_embed_proj_dim": 32},
    "Mixtral": {**GROUPED, "num_local_experts": 4},
    "Qwen2Moe": {**GROUPED, **FEW, "shared_expert_intermediate_size": 40},
    "Qwen3Moe": {**GROUPED, **FEW, "head_dim": 8},
}
OFTEN = ("Llama", "GPT2", "Mixtral")  # gated and grouped, learnt positions and Conv1D, experts
BY_KIND = pytest.mark.parametrize(
    "name", [name if name in OFTEN else pytest.param(name, marks=pytest.mark.slow) for name in DECODERS]
)
HEADS = {"GPT2": "GPT2LMHeadModel"}


def decoder(name: str, **settings: Any) -> nn.Module:
    """A decoder whose attention is no longer even: fresh weights are so small that positions hardly matter."""
    import transformers

    config = getattr(transformers, f"{name}Config")(**{**WORDS, **DECODERS[name], **settings})
    torch.manual_seed(0)
    model = getattr(transformers, HEADS.get(name, f"{name}ForCausalLM"))(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) / 6)
    return model


def ids(batch: int = 2, tokens: int = 9) -> Tensor:
    return torch.randint(3, 60, (batch, tokens), generator=torch.Generator().manual_seed(batch))


def generated(model: nn.Module, start: Tensor, tokens: int = 8) -> Tensor:
    """Tokens that follow `start`, with what was kept of those before."""
    there = torch.ones_like(start)
    chosen = {"do_sample": False, "min_new_tokens": tokens, "max_new_tokens": tokens, "pad_token_id": 0}
    return model.generate(start, attention_mask=there, use_cache=True, **chosen)
