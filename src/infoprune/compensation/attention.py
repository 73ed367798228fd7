"""nn.MultiheadAttention taken apart, so that its projections are layers like others; and put together again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from infoprune.graph.copies import structural_copy

INTO = "in_proj"


class InProjection(nn.Linear):
    """Queries, keys and values of one input; its weight is the attention's own `in_proj_weight`.

    Scores are to be `scale` times what the attention makes of them by itself.
    """

    scale: float = 1.0

    def of_each(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        """Queries as large as scores need them, keys and values."""
        if query is key is value:
            parts = self(query).chunk(3, -1)
        else:
            biases = (None,) * 3 if self.bias is None else self.bias.chunk(3)
            parts = map(nn.functional.linear, (query, key, value), self.weight.chunk(3), biases)
        queries, *others = parts
        return queries if self.scale == 1 else queries * self.scale, *others

    @classmethod
    def of(cls, attention: nn.MultiheadAttention) -> InProjection:
        weight: Any = attention.in_proj_weight
        projection = cls(1, 1, bias=attention.in_proj_bias is not None)
        projection.weight, projection.bias = weight, attention.in_proj_bias
        projection.out_features, projection.in_features = weight.shape
        return projection


def taken_apart(model: nn.Module) -> nn.Module:
    """A structural copy in which attention calls its projections as modules, `in_proj` and `out_proj`.

    Attention to something else than the input itself has no projection of one input, and calls `out_proj` alone.
    """
    copy = structural_copy(model)
    for module in list(copy.modules()):
        if isinstance(module, nn.MultiheadAttention) and type(module).forward is nn.MultiheadAttention.forward:
            if module._qkv_same_embed_dim:
                module.add_module(INTO, InProjection.of(module))
            module.forward = partial(_attend, module)
    return copy


def put_together(copy: nn.Module) -> nn.Module:
    """The copy with tensors under the names that they have in the model."""
    for module in list(copy.modules()):
        if isinstance(module, nn.MultiheadAttention) and isinstance(vars(module).get("forward"), partial):
            del module.forward
            projection: Any = module._modules.pop(INTO, None)
            if projection is not None:
                module.in_proj_weight, module.in_proj_bias = projection.weight, projection.bias
    return copy


def absorb_scales_(copy: nn.Module) -> None:
    """Let queries be as large as scores need them, in tensors of the copy's own."""
    for projection in copy.modules():
        if isinstance(projection, InProjection) and projection.scale != 1:
            for leaf, tensor in list(projection.named_parameters()):
                queries, *others = tensor.detach().chunk(3)
                new = torch.cat([queries * projection.scale, *others])
                setattr(projection, leaf, nn.Parameter(new, tensor.requires_grad))
            projection.scale = 1.0


@contextmanager
def step_by_step() -> Iterator[None]:
    """Without torch's fused inference path, which calls no module that an attention or an encoder layer holds."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _attend(
    attention: nn.MultiheadAttention,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """What `nn.MultiheadAttention.forward` computes; between the projections, torch is given identities as weights."""
    whole = torch.eye(attention.embed_dim, dtype=query.dtype, device=query.device)
    own: Any = (attention.q_proj_weight, attention.k_proj_weight, attention.v_proj_weight)
    projection, bias = attention._modules.get(INTO), attention.in_proj_bias
    if isinstance(projection, InProjection):
        query, key, value = projection.of_each(query, key, value)
        own, bias = (whole, whole, whole), None
    turned = attention.batch_first and query.dim() == 3
    if turned:
        query, key, value = (t.transpose(0, 1) for t in (query, key, value))
    output, weights = nn.functional.multi_head_attention_forward(
        query, key, value, attention.embed_dim, attention.num_heads, None, bias, attention.bias_k, attention.bias_v,
        attention.add_zero_attn, attention.dropout, whole, None, training=attention.training,
        key_padding_mask=key_padding_mask, need_weights=need_weights, attn_mask=attn_mask,
        use_separate_proj_weight=True, q_proj_weight=own[0], k_proj_weight=own[1], v_proj_weight=own[2],
        average_attn_weights=average_attn_weights, is_causal=is_causal,
    )  # fmt: skip
    return attention.out_proj(output.transpose(0, 1) if turned else output), weights
