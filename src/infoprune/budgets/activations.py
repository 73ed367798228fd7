"""Memory that activations take, counted exactly."""

from __future__ import annotations

from infoprune.allocation import Posynomial
from infoprune.budgets.base import Budget, budgets
from infoprune.budgets.calls import calls_of
from infoprune.graph import Graph


@budgets.register("activations")
def activations(*, keep: float | None = None, at_most: float | None = None) -> Budget:
    """Numbers that convolutions and linear layers give out for the example inputs, summed over the network.

    The sum is what training stores and what travels through memory. The peak is less than the sum, but
    depends on when buffers are freed and is no posynomial; norms and activation functions work on the
    same elements again and are not counted a second time.
    """
    return Budget("activations", _elements, keep, at_most)


def _elements(graph: Graph) -> Posynomial:
    products = []
    for call in calls_of(graph.model, graph.inputs):
        factor, channels = call.channels(graph)
        products.append((call.places * factor, (channels,)))
    return graph.price(products)
