"""What crosses from the edge to the cloud."""

from __future__ import annotations

import math
from functools import partial

from infoprune.allocation import Posynomial
from infoprune.budgets.base import Budget, budgets
from infoprune.graph import Graph
from infoprune.graph.outputs import output_of

BITS_A_VALUE = 8


@budgets.register("bits")
def bits(*, keep: float | None = None, at_most: float | None = None, at: str | None = None) -> Budget:
    """Bits per image that the features of the layer `at` take as 8-bit levels, before anything compresses them.

    In `ip.plan` it prices channels: 8 H W for each feature that the edge still computes, exact for every choice. What
    a codec makes of them depends on the pictures, so that `ip.split.select_for_rate` measures it: there `at_most` are
    bits of real streams, `keep` is a share of the same 8-bit price, and `at` is not needed.
    """
    return Budget("bits", partial(_eight_bit_price, at=at), keep, at_most)


def _eight_bit_price(graph: Graph, *, at: str | None) -> Posynomial:
    if at is None:
        raise ValueError("bits are of the features that one layer sends; name it, as in bits(at_most=..., at='layer2')")
    output = output_of(graph, at)
    return graph.price([(BITS_A_VALUE * math.prod(output.shape[2:]), (output.channels,))])
