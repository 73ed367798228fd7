"""Trials: a removal that is wrong is found, however little or seldom it shows."""

import numpy as np
import torch
from torch import Tensor, nn

from infoprune.graph import Graph, verify


class TwoWidths(nn.Module):
    """The code wants two widths alike that nothing ties."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.also = nn.Linear(8, 16), nn.Linear(8, 16)
        self.a, self.b = nn.Linear(16, 3), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        one, two = self.wide(x), self.also(x)
        if one.shape != two.shape:
            raise ValueError("the two differ")
        return self.a(one) + self.b(two)


class Mean(nn.Module):
    """An average over channels that counts them by their number, and shows little in the output."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.head = nn.Linear(8, 16), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.wide(x)
        return self.head(y) + 1e-3 * y.abs().sum(-1, keepdim=True) / y.size(-1)


def rows() -> Tensor:
    return torch.randn(4, 8, generator=torch.Generator().manual_seed(1))


def made(net: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return net().eval()


def test_two_sites_that_lose_the_same_share_by_chance_are_tried_with_others(monkeypatch):
    real = verify._some

    def halves_first(site, turn=0):
        return real(site, turn) if turn else np.arange(site.size) % 2 == 1

    monkeypatch.setattr(verify, "_some", halves_first)
    assert set(Graph.trace(made(TwoWidths), rows()).quarantined) & {"wide", "also"}
    monkeypatch.setattr(verify, "TURNS", 1)
    assert not Graph.trace(made(TwoWidths), rows()).quarantined


def test_a_difference_near_that_of_rounding_is_settled_in_double_precision(monkeypatch):
    graph = Graph.trace(made(Mean), rows())
    assert "differ by" in graph.quarantined["wide"]
    monkeypatch.setattr(verify, "DOUBT", 1.0)
    assert not Graph.trace(made(Mean), rows()).quarantined


def test_rounding_alone_is_no_difference():
    """A large constant takes the last digits of single precision from what the cut network computes."""

    class Rounded(Mean):
        def forward(self, x: Tensor) -> Tensor:
            y = self.wide(x)
            return self.head(y + 3e3) - self.head(torch.full_like(y, 3e3))

    assert set(Graph.trace(made(Rounded), rows()).couplings) == {"wide"}


class Scaled(nn.Module):
    """The scale of attention follows a number that the view names, so that it changes when the view is repaired."""

    def __init__(self) -> None:
        super().__init__()
        self.size, self.value = 16, nn.Linear(8, 3)
        self.query, self.key = (nn.Linear(8, 16, bias=False) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        query, key = (layer(x).view(len(x), -1, 1, self.size).transpose(1, 2) for layer in (self.query, self.key))
        return (query @ key.transpose(-2, -1) / self.size**0.5).softmax(-1)[:, 0] @ self.value(x)


def test_a_wrong_scale_of_attention_over_small_numbers_is_found():
    model = made(Scaled)
    for layer in (model.query, model.key):
        nn.init.normal_(layer.weight, std=1e-4)
    x = torch.randn(4, 6, 8, generator=torch.Generator().manual_seed(1))
    assert "differ by" in Graph.trace(model, x).quarantined["query"]


def test_a_wrong_scale_is_found_where_larger_weights_would_turn_all_attention_to_one_place(monkeypatch):
    model = made(Scaled)
    nn.init.normal_(model.query.weight, std=0.02)
    model.key.weight = nn.Parameter(model.query.weight.detach().clone())  # every token looks at itself
    x = 20 * torch.eye(6, 8).expand(4, 6, 8)
    assert "differ by" in Graph.trace(model, x).quarantined["query"]
    monkeypatch.setattr(verify, "TURNS", 1)
    assert not Graph.trace(model, x).quarantined
