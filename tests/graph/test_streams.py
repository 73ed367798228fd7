"""Attention whose code takes the width of its input for that of all heads: both lose width at one ratio."""

import pytest
import torch
import torch.nn.functional as F
from tests.masked_by_hand import prunes_right
from torch import nn

import infoprune as ip
from infoprune.graph import Graph


class Own(nn.Module):
    """Written as in many vision models: the input's width, divided by the heads."""

    def __init__(self, dim=32, heads=4):
        super().__init__()
        self.num_heads, self.scale = heads, (dim // heads) ** -0.5
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x):
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.num_heads, c // self.num_heads).permute(2, 0, 3, 1, 4).unbind(0)
        y = ((q * self.scale) @ k.transpose(-2, -1)).softmax(-1) @ v
        return self.proj(y.transpose(1, 2).reshape(b, n, c))


class Reduced(Own):
    """Keys and values of a grid at half the resolution, whose width is taken from the input as well."""

    def __init__(self):
        super().__init__()
        self.qkv, self.q, self.kv = None, nn.Linear(32, 32), nn.Linear(32, 64)
        self.sr = nn.Conv2d(32, 32, 2, 2)

    def forward(self, x):
        b, n, c = x.shape
        side = round(n**0.5)
        q = self.q(x).reshape(b, n, self.num_heads, c // self.num_heads).transpose(1, 2)
        small = self.sr(x.transpose(1, 2).reshape(b, c, side, side)).reshape(b, c, -1).transpose(1, 2)
        k, v = self.kv(small).reshape(b, -1, 2, self.num_heads, c // self.num_heads).permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(q, k, v, scale=self.scale)
        return self.proj(y.transpose(1, 2).reshape(b, n, c))


class Cosine(Own):
    """Normalised queries and keys, as Swin v2's."""

    def forward(self, x):
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.num_heads, c // self.num_heads).permute(2, 0, 3, 1, 4).unbind(0)
        y = (F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1)).softmax(-1) @ v
        return self.proj(y.transpose(1, 2).reshape(b, n, c))


class InWindows(Own):
    """Five axes, and a scale that follows from the dimensions."""

    def forward(self, x):
        b, n, c = x.shape
        parts = self.qkv(x).reshape(b, 4, n // 4, 3, self.num_heads, c // self.num_heads).permute(3, 0, 1, 4, 2, 5)
        q, k, v = parts.unbind(0)
        y = F.scaled_dot_product_attention(q, k, v, scale=self.scale if self.given else None)
        return self.proj(y.transpose(2, 3).reshape(b, n, c))

    given = True


class Net(nn.Module):
    def __init__(self, attention):
        super().__init__()
        self.i, self.a, self.f, self.o = nn.Linear(6, 32), attention, nn.Linear(32, 24), nn.Linear(24, 4)

    def forward(self, x):
        x = self.i(x)
        return self.o(torch.relu(self.f(x + self.a(x))))


def words(*shape):
    return 3 * torch.randn(*shape, 6)


@pytest.mark.parametrize("attention", [Own, Reduced, Cosine, InWindows])
def test_dimensions_of_all_heads_leave_with_channels_of_the_stream(attention):
    net = Net(attention()).eval()
    graph = Graph.trace(net, words(2, 16))
    assert not graph.quarantined
    assert {s.name: (s.size, s.step) for s in graph.sites} == {"i": (8, 4), "f": (24, 1)}
    prunes_right(net, words(2, 16), words(1, 36))


def test_attention_over_five_axes_has_its_scale_compared():
    attention = InWindows()
    attention.given = False
    net = Net(attention).eval()
    plan = ip.plan(net, words(2, 16), ip.importance.IndependenceImportance(), rates=0.5)
    certificate = ip.certificate_of(net, words(2, 16), plan)
    assert (certificate.statistics, certificate.compared) == (("attention scale",), True)
    assert certificate.verdict == "not exact by design"


def test_heads_stay_free_where_the_code_lets_them():
    """Nothing is tied that may leave by itself."""

    class Free(Own):
        def forward(self, x):
            b, n, _ = x.shape
            q, k, v = self.qkv(x).reshape(b, n, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
            y = ((q * self.scale) @ k.transpose(-2, -1)).softmax(-1) @ v
            return self.proj(y.transpose(1, 2).reshape(b, n, -1))

    sites = {s.name: (s.size, s.step) for s in Graph.trace(Net(Free()).eval(), words(2, 16)).sites}
    assert sites == {"i": (32, 1), "a.qkv": (4, 24), "f": (24, 1)}


def test_the_size_of_an_image_is_no_width():
    class Patches(nn.Module):
        def __init__(self):
            super().__init__()
            self.img_size, self.proj, self.f = (32, 32), nn.Conv2d(3, 32, 8, 8), nn.Linear(32, 16)
            self.o = nn.Linear(16, 4)

        def forward(self, x):
            assert tuple(x.shape[2:]) == self.img_size
            return self.o(torch.relu(self.f(self.proj(x).flatten(2).transpose(1, 2))))

    plan = prunes_right(Patches(), torch.randn(2, 3, 32, 32), torch.randn(1, 3, 32, 32))
    assert plan.widths == {"proj": 16, "f": 8}
