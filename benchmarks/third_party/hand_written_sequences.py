"""Networks on sequences in the ways people write them, one way each."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from third_party.entry import Entry, fixed, joined, noise, tokens


class Sentence(nn.Module):
    """An embedding of 32 channels, the part under test, a feed-forward layer and a head of 5 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(16, 32)
        self.build()
        self.up, self.down, self.head = nn.Linear(32, 96), nn.Linear(96, 32), nn.Linear(32, 5)

    def build(self) -> None: ...

    def middle(self, x: Tensor) -> Tensor:
        return x

    def forward(self, x: Tensor) -> Tensor:
        y = self.middle(self.embed(x))
        return self.head((y + self.down(F.gelu(self.up(y)))).mean(1))


class RMSNorm(Sentence):
    """Written by hand."""

    def build(self) -> None:
        self.gain = nn.Parameter(torch.rand(32) + 0.5)

    def middle(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.gain


class HandLayerNorm(Sentence):
    def middle(self, x: Tensor) -> Tensor:
        return (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-6).sqrt()


class GroupedQueries(Sentence):
    """Four heads of queries, two of keys and values, by scaled_dot_product_attention."""

    def build(self) -> None:
        self.q, self.k, self.v, self.o = nn.Linear(32, 32), nn.Linear(32, 16), nn.Linear(32, 16), nn.Linear(32, 32)

    def middle(self, x: Tensor) -> Tensor:
        n, t, _ = x.shape
        q, k, v = (layer(x).view(n, t, -1, 8).transpose(1, 2) for layer in (self.q, self.k, self.v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return x + self.o(y.transpose(1, 2).reshape(n, t, -1))


class RepeatedKeys(GroupedQueries):
    """The same by repeat_interleave and matrix products."""

    def middle(self, x: Tensor) -> Tensor:
        n, t, _ = x.shape
        q, k, v = (layer(x).view(n, t, -1, 8).transpose(1, 2) for layer in (self.q, self.k, self.v))
        k, v = k.repeat_interleave(2, 1), v.repeat_interleave(2, 1)
        y = (q @ k.transpose(-1, -2) / math.sqrt(8)).softmax(-1) @ v
        return x + self.o(y.transpose(1, 2).reshape(n, t, -1))


class EinsumAttention(Sentence):
    def build(self) -> None:
        self.qkv, self.o = nn.Linear(32, 96, bias=False), nn.Linear(32, 32)

    def middle(self, x: Tensor) -> Tensor:
        n, t, _ = x.shape
        q, k, v = self.qkv(x).view(n, t, 3, 4, 8).unbind(2)
        weights = torch.einsum("bqhd,bkhd->bhqk", q, k).mul(8**-0.5).softmax(-1)
        return x + self.o(torch.einsum("bhqk,bkhd->bqhd", weights, v).reshape(n, t, -1))


class MultiheadAttention(Sentence):
    """torch's own module."""

    def build(self) -> None:
        self.norm, self.attention = nn.LayerNorm(32), nn.MultiheadAttention(32, 4, batch_first=True)

    def middle(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        return x + self.attention(y, y, y, need_weights=False)[0]


class TransformerEncoder(Sentence):
    def build(self) -> None:
        layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def middle(self, x: Tensor) -> Tensor:
        return self.layers(x)


class GatedUnit(Sentence):
    """One layer makes gate and value."""

    def build(self) -> None:
        self.both, self.back = nn.Linear(32, 128), nn.Linear(64, 32)

    def middle(self, x: Tensor) -> Tensor:
        gate, value = self.both(x).chunk(2, -1)
        return x + self.back(F.silu(gate) * value)


class BareParameters(Sentence):
    """Weights without layers."""

    def build(self) -> None:
        self.first = nn.Parameter(torch.randn(64, 32) / 6)
        self.second = nn.Parameter(torch.randn(64, 32) / 8)

    def middle(self, x: Tensor) -> Tensor:
        return torch.relu(F.linear(x, self.first)) @ self.second


class Positions(Sentence):
    """The first rows of a longer table."""

    def build(self) -> None:
        self.table = nn.Embedding(64, 32)

    def middle(self, x: Tensor) -> Tensor:
        return x + self.table.weight[: x.size(1)]


class Recurrent(nn.Module):
    """Convolutions under an LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv1d(16, 48, 3, padding=1), nn.Conv1d(48, 24, 3, padding=1)
        self.lstm, self.head = nn.LSTM(24, 24, batch_first=True), nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.two(torch.relu(self.one(x.transpose(1, 2))))
        return self.head(self.lstm(y.transpose(1, 2))[0][:, -1])


class Gru(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.gru = nn.Embedding(100, 32), nn.GRU(32, 48, num_layers=2, bidirectional=True)
        self.mix, self.head = nn.Linear(96, 64), nn.Linear(64, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.mix(self.gru(self.embed(x).transpose(0, 1))[0].mean(0))))


class Optional(Sentence):
    """Arguments that may be absent, and a number."""

    def forward(self, x: Tensor, mask: Tensor | None = None, scale: float = 1.0) -> Tensor:  # type: ignore[override]
        y = self.embed(x) * scale
        y = y if mask is None else y * mask
        return self.head((y + self.down(F.gelu(self.up(y)))).mean(1))


class NestedInput(Sentence):
    def forward(self, batch: dict[str, Any]) -> Tensor:  # type: ignore[override]
        return super().forward(batch["x"]) * batch["options"]["scale"]


class Neighbours(Sentence):
    """The nearest tokens are gathered, as in networks on point clouds."""

    def middle(self, x: Tensor) -> Tensor:
        nearest = torch.cdist(x, x).topk(3, largest=False)[1]
        rows = torch.arange(len(x))[:, None, None]
        return x + x[rows, nearest].mean(2)


class Normalised(Sentence):
    """Cosine similarities decide."""

    def build(self) -> None:
        self.centres = nn.Parameter(torch.randn(7, 32))

    def middle(self, x: Tensor) -> Tensor:
        near = F.normalize(x, dim=-1) @ F.normalize(self.centres, dim=-1).T
        return x + near.softmax(-1) @ self.centres


def hand(name: str, build: Callable[[], nn.Module], inputs: Any) -> Entry:
    return Entry(f"hand_{name}", "by hand", "by hand", build, inputs)


WORDS = noise(10, 16)
ENTRIES = [
    hand("rms_norm", RMSNorm, WORDS),
    hand("hand_layer_norm", HandLayerNorm, WORDS),
    hand("grouped_queries", GroupedQueries, WORDS),
    hand("repeated_keys", RepeatedKeys, WORDS),
    hand("einsum_attention", EinsumAttention, WORDS),
    hand("multihead_attention", MultiheadAttention, WORDS),
    hand("transformer_encoder", TransformerEncoder, WORDS),
    hand("gated_unit", GatedUnit, WORDS),
    hand("bare_parameters", BareParameters, WORDS),
    hand("positions", Positions, WORDS),
    hand("lstm_head", Recurrent, WORDS),
    hand("gru", Gru, tokens()),
    hand("optional_arguments", Optional, joined(WORDS, fixed(None, 0.5))),
    hand("nested_input", NestedInput, lambda batch: ({"x": WORDS(batch)[0], "options": {"scale": 2.0}},)),
    hand("neighbours", Neighbours, WORDS),
    hand("normalised", Normalised, WORDS),
]
