"""Rows of a parameter that the example picks by their number are no channels: other inputs pick others."""

import torch
from tests.masked_by_hand import prunes_right
from torch import nn

import infoprune as ip
from infoprune.graph import Graph
from infoprune.importance import CapacityIndependenceImportance


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.e, self.f, self.o = nn.Linear(16, 24), nn.Linear(24, 32), nn.Linear(32, 5)
        self.build()

    def forward(self, x, *rest):
        return self.o(torch.relu(self.f(self.place(self.e(x), *rest))).mean(1))


class Table(Net):
    def build(self):
        self.pos = nn.Parameter(torch.randn(1, 30, 24))

    def place(self, x):
        return x + self.pos[:, : x.size(1)]


class EmbeddingRows(Net):
    def build(self):
        self.pos = nn.Embedding(30, 24)

    def place(self, x):
        return x + self.pos.weight[: x.size(1)]


class Bank(Net):
    def build(self):
        self.bank = nn.Parameter(torch.randn(8, 24))

    def place(self, x, task):
        return x + self.bank[task]


class Listed(Net):
    """Every row is used, one at a time."""

    def build(self):
        self.scales = nn.Parameter(torch.randn(4))

    def place(self, x):
        return x * self.scales[0] + torch.relu(x) * self.scales[1] + torch.tanh(x) * self.scales[2] * self.scales[3]


def words(count):
    return torch.randn(2, count, 16)


def test_rows_of_a_position_table_that_the_example_does_not_reach_stay():
    torch.manual_seed(0)
    for net in (Table(), EmbeddingRows()):
        assert [site.name for site in Graph.trace(net, words(12), verify=False).sites] == ["e", "f"]
        prunes_right(net, words(12), words(29), words(3)[:1])
        ip.plan(net, words(12), CapacityIndependenceImportance(), rates=0.5)


def test_rows_of_a_bank_stay_whichever_the_example_picks():
    torch.manual_seed(0)
    net = Bank()
    assert [site.name for site in Graph.trace(net, (words(6), 3), verify=False).sites] == ["e", "f"]
    for task in (0, 7):
        prunes_right(net, (words(6), task), (words(9), 5))


def test_numbers_that_are_picked_one_by_one_stay():
    torch.manual_seed(0)
    net = Listed()
    assert [site.name for site in Graph.trace(net, words(6), verify=False).sites] == ["e", "f"]
    prunes_right(net, words(6), words(9))


def test_the_reason_is_told():
    class OnlyTable(nn.Module):
        def __init__(self):
            super().__init__()
            self.pos = nn.Parameter(torch.randn(30, 24))

        def forward(self, x):
            return x + self.pos[: x.size(0)]

    graph = Graph.trace(OnlyTable(), torch.randn(12, 24))
    assert not graph.sites
    assert "only a part of it was used" in graph.why_fixed()


def test_fused_queries_keys_and_values_may_be_cut_out_of_one_weight():
    class Fused(nn.Module):
        def __init__(self):
            super().__init__()
            self.w, self.o = nn.Parameter(torch.randn(24, 8) / 4), nn.Linear(24, 3)
            self.e = nn.Linear(6, 8)

        def forward(self, x):
            parts = self.w[:8], self.w[8:16], self.w[16:]
            return self.o(torch.cat([torch.relu(nn.functional.linear(self.e(x), part)) for part in parts], -1))

    torch.manual_seed(0)
    sites = Graph.trace(Fused(), torch.randn(2, 6)).sites
    assert "e" in [site.name for site in sites]
    prunes_right(Fused(), torch.randn(2, 6), torch.randn(5, 6), rates={"e": 0.5})
