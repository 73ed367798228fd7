"""Channels that change places with pixels, or are written piece by piece."""

import pytest
import torch
import torch.nn.functional as F
from tests.masked_by_hand import prunes_right
from torch import nn

from infoprune.graph import Graph


def conv(i, o, k=3):
    return nn.Conv2d(i, o, k, padding=k // 2)


class Maps(nn.Module):
    """A stem of 32 channels, a layout under test, and what reads it."""

    def __init__(self, mix, out=32):
        super().__init__()
        self.a, self.b, self.c, self.mix = conv(3, 32), conv(out, 12), nn.Linear(12, 4), mix

    def forward(self, x):
        return self.c(torch.relu(self.b(self.mix(torch.relu(self.a(x))))).mean((2, 3)))


def shuffled_by_hand(x, r=2):
    n, c, h, w = x.shape
    return x.view(n, c // r**2, r, r, h, w).permute(0, 1, 4, 2, 5, 3).reshape(n, c // r**2, h * r, w * r)


def depth_to_space(x, r=2):
    """The order of TensorFlow: blocks of channels lie behind each other."""
    n, c, h, w = x.shape
    return x.view(n, r, r, c // r**2, h, w).permute(0, 3, 4, 1, 5, 2).reshape(n, c // r**2, h * r, w * r)


def patches_merged(x):
    return torch.cat([x[..., i::2, j::2] for i in (0, 1) for j in (0, 1)], 1)


def written_in_slices(x):
    z = torch.zeros_like(x)
    half = x.size(1) // 2
    z[:, :half], z[:, half:] = x[:, half:], 2 * x[:, :half]
    return z


def interleaved(x):
    z = torch.empty_like(x)
    half = x.size(1) // 2
    z[:, ::2], z[:, 1::2] = x[:, :half], x[:, half:]
    return z


def shifted(x):
    z = torch.zeros_like(x)
    z[:, :, 1:] = x[:, :, :-1]
    z[:, :, :, 0] += x[:, :, :, 1]
    return z


def temporal_shift(x):
    fold = x.size(1) // 4
    return torch.cat([x[:, :fold].roll(1, 0), x[:, fold : 2 * fold].roll(-1, 0), x[:, 2 * fold :]], 1)


def temporal_shift_in_place(x):
    z, fold = torch.zeros_like(x), x.size(1) // 4
    z[:-1, :fold] = x[1:, :fold]
    z[1:, fold : 2 * fold] = x[:-1, fold : 2 * fold]
    z[:, 2 * fold :] = x[:, 2 * fold :]
    return z


LAYOUTS = {
    "pixel shuffle": (lambda x: F.pixel_shuffle(x, 2), 8, (8, 4)),
    "pixel shuffle by hand": (shuffled_by_hand, 8, (8, 4)),
    "depth to space": (depth_to_space, 8, (8, 4)),
    "pixel unshuffle": (lambda x: F.pixel_unshuffle(x, 2), 128, (32, 1)),
    "there and back": (lambda x: F.pixel_shuffle(F.pixel_unshuffle(x, 2), 2), 32, (32, 1)),
    "back and there": (lambda x: F.pixel_unshuffle(F.pixel_shuffle(x, 2), 2), 32, (8, 4)),
    "patches merged": (patches_merged, 128, (32, 1)),
    "unfold": (lambda x: x.unfold(2, 2, 2).unfold(3, 2, 2).flatten(4).mean(4), 32, (32, 1)),
    "strided slices": (lambda x: torch.cat([x[:, ::2], x[:, 1::2]], 1), 32, (16, 2)),
    "every fourth": (lambda x: x[:, ::4] + x[:, 1::4] * x[:, 2::4] - x[:, 3::4], 8, (8, 4)),
    "written in slices": (written_in_slices, 32, (16, 2)),
    "interleaved": (interleaved, 32, (16, 2)),
    "temporal shift": (temporal_shift, 32, (8, 4)),
    "temporal shift in place": (temporal_shift_in_place, 32, (8, 4)),
    "eighths": (lambda x: torch.cat([x[:, : x.size(1) // 8] * 2, x[:, x.size(1) // 8 :]], 1), 32, (4, 8)),
    "shifted": (shifted, 32, (32, 1)),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_channels_leave_with_what_they_are_laid_out_as(layout):
    mix, out, unit = LAYOUTS[layout]
    net = Maps(mix, out).eval()
    calls = torch.randn(2, 3, 8, 8), torch.randn(1, 3, 12, 4)
    sites = {site.name: site for site in Graph.trace(net, calls[0]).sites}
    if unit is not None:
        assert (sites["a"].size, sites["a"].step) == unit
    plan = prunes_right(net, *calls)
    assert {"a", "b"} <= {edit.site.name for edit in plan.edits}


def partial(x):
    first, rest = torch.split(x, [8, 24], 1)
    return torch.cat([first * 2, rest], 1)


def halves_by_number(x):
    return torch.cat([x[:, :16] * 2, x[:, 16:]], 1)


@pytest.mark.parametrize("mix", [partial, halves_by_number, lambda x: x.roll(3, 1)])
def test_a_layout_that_does_not_follow_is_left_alone_with_its_reason(mix):
    net = Maps(mix).eval()
    x = torch.randn(4, 3, 8, 8)
    graph = Graph.trace(net, x)
    assert [site.name for site in graph.sites] == ["b"]
    assert set(graph.quarantined)
    prunes_right(net, x, torch.randn(2, 3, 6, 6))


class PartialConvolution(nn.Module):
    """As FasterNet's, which names the two widths."""

    def __init__(self, dim=32, part=4):
        super().__init__()
        self.touched, self.rest = dim // part, dim - dim // part
        self.mix = nn.Conv2d(self.touched, self.touched, 3, padding=1, bias=False)

    def forward(self, x):
        first, rest = torch.split(x, [self.touched, self.rest], dim=1)
        return torch.cat((self.mix(first), rest), 1)


def test_a_partial_convolution_that_names_its_widths_shrinks_in_both_parts():
    net = Maps(PartialConvolution()).eval()
    plan = prunes_right(net, torch.randn(2, 3, 8, 8), torch.randn(1, 3, 5, 7))
    assert {edit.site.size for edit in plan.edits} == {8, 24, 12}


class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.wide, self.out = nn.Linear(6, 16), nn.Linear(8, 3)

    def forward(self, x):
        y = self.wide(x)
        return self.out(y[..., ::2] * torch.sigmoid(y[..., 1::2]))


def test_values_and_gates_in_turn_leave_together():
    plan = prunes_right(Gated(), torch.randn(2, 6), torch.randn(1, 5, 6))
    assert [(edit.site.size, edit.site.step) for edit in plan.edits] == [(8, 2)]
