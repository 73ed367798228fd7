"""Bytes that a network takes: for its weights, and for the keys and values that a decoder keeps."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from infoprune.allocation import Posynomial
from infoprune.budgets.base import Amounts, Counted, Limit, budgets
from infoprune.graph import Graph
from infoprune.graph.arguments import Arguments
from infoprune.graph.evaluating import evaluating
from infoprune.graph.outputs import cache_of, require_cache

LEAST = 1000  # bytes; fewer are taken for mistaken shares
UNITS = {
    unit: base**power
    for base, names in ((1000, ("B", "KB", "MB", "GB", "TB")), (1024, ("B", "KiB", "MiB", "GiB", "TiB")))
    for power, unit in enumerate(names)
}


def read_bytes(limit: Limit) -> float:
    """The number of bytes that "500MB", "1.5GiB" or a bare number means; ValueError for anything else.

    >>> read_bytes("1.5KiB"), read_bytes(2000)
    (1536.0, 2000.0)
    """
    match = re.fullmatch(r"\s*([0-9.]+(?:e[0-9]+)?)\s*([KMGT]?i?B)?\s*", str(limit))
    if match is None or (match[2] or "B") not in UNITS:
        raise ValueError(f"{limit!r} is no size")
    size = float(match[1]) * UNITS[match[2] or "B"]
    if size < LEAST:
        raise ValueError(f"{size:g} bytes are too few to be meant")
    return size


SIZES = Amounts("a size such as 500MB or 1.5GiB", read_bytes)


@budgets.register("bytes")
@dataclass(frozen=True, kw_only=True)
class Bytes(Counted):
    """Bytes of all parameters, each as wide as its own numbers; one that layers share counts once."""

    resource: ClassVar[str] = "bytes"
    amounts: ClassVar[Amounts] = SIZES
    whole: ClassVar[bool] = True

    def cost(self, graph: Graph) -> Posynomial:
        return graph.price([(p.element_size(), graph.extents(n, p)) for n, p in graph.model.named_parameters()])

    def measure(self, model: nn.Module, inputs: Any) -> float:
        return sum(p.numel() * p.element_size() for p in model.parameters())


@budgets.register("kv_cache")
@dataclass(frozen=True, kw_only=True)
class KVCache(Counted):
    """Bytes that a decoder keeps from token to token, for the example inputs: keys and values, or a state.

    They grow with the batch and, for attention without a window, with the tokens: the example inputs say how many.
    """

    resource: ClassVar[str] = "kv_cache_bytes"
    amounts: ClassVar[Amounts] = SIZES
    whole: ClassVar[bool] = True

    def cost(self, graph: Graph) -> Posynomial:
        return graph.price(cache_of(graph))

    def measure(self, model: nn.Module, inputs: Any) -> float:
        with torch.no_grad(), evaluating(model):
            output = Arguments.of(inputs).run(model)
        return sum(t.numel() * t.element_size() for t in require_cache(model, output))
