"""Random networks for hypothesis: every way in which channels hang together, in any order and depth.

`networks(kinds)` draws a small network and what it takes. Its repr is the reproducer: hypothesis shrinks it to the few
layers that matter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from torch import Tensor, nn

WIDTHS = (4, 6, 8, 12)
OUTERMOST = 2  # how deep steps may hold steps
Draw = Callable[[st.SearchStrategy], int]
Made = tuple[nn.Module, int]  # a step and how many channels leave it


# ------------------------------------------------------------------------------------------ steps on pictures


class Residual(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x)


class Concatenated(nn.Module):
    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


class Split(nn.Module):
    """Part of the channels goes through `inner`, the rest around it."""

    def __init__(self, width: int, inner: nn.Module, *, chunk: bool) -> None:
        super().__init__()
        self.sizes, self.inner, self.chunk = [width, width], inner, chunk

    def forward(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, 1) if self.chunk else torch.split(x, self.sizes, 1)
        return torch.cat([self.inner(a), b], 1)


class Product(nn.Module):
    """Two layers' outputs are multiplied."""

    def __init__(self, one: nn.Module, two: nn.Module) -> None:
        super().__init__()
        self.one, self.two = one, two

    def forward(self, x: Tensor) -> Tensor:
        return self.one(x) * torch.sigmoid(self.two(x))


class Shuffle(nn.Module):
    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        return x.view(n, self.groups, c // self.groups, h, w).transpose(1, 2).reshape(n, c, h, w)

    def extra_repr(self) -> str:
        return f"groups={self.groups}"


class SqueezeExcite(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(width, 4, 1), nn.Conv2d(4, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.up(torch.relu(self.down(x.mean((2, 3), keepdim=True)))))


class ChannelNorm(nn.LayerNorm):
    """A layer norm over the channels of a picture."""

    data_format = "channels_first"

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Shared(nn.Module):
    """One layer runs twice."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(torch.relu(self.conv(x)))


# ------------------------------------------------------------------------------------------ steps on tokens


class Tokens(nn.Module):
    """Steps on tokens, (batch, height * width, channels), within a network on pictures."""

    def __init__(self, *steps: nn.Module) -> None:
        super().__init__()
        self.steps = nn.Sequential(*steps)

    def forward(self, x: Tensor) -> Tensor:
        y = self.steps(x.flatten(2).transpose(1, 2))
        return y.transpose(1, 2).reshape(x.shape[0], -1, *x.shape[2:])


class Attention(nn.Module):
    """`heads` heads of queries over `groups` heads of keys and values, 4 channels each."""

    def __init__(self, width: int, heads: int, groups: int, *, written: str) -> None:
        super().__init__()
        self.heads, self.groups, self.head_dim, self.written = heads, groups, 4, written
        self.query, self.out = nn.Linear(width, heads * 4), nn.Linear(heads * 4, width)
        self.key, self.value = nn.Linear(width, groups * 4), nn.Linear(width, groups * 4)

    def forward(self, x: Tensor) -> Tensor:
        n, t, _ = x.shape
        layers = (self.query, self.key, self.value)
        q, k, v = (layer(x).view(n, t, -1, self.head_dim).transpose(1, 2) for layer in layers)
        if self.written == "enable_gqa":
            y = F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
        else:
            if self.groups != self.heads:
                k, v = (z.repeat_interleave(self.heads // self.groups, 1) for z in (k, v))
            y = F.scaled_dot_product_attention(q, k, v) if self.written == "fused" else self._products(q, k, v)
        return x + self.out(y.transpose(1, 2).reshape(n, t, -1))

    def _products(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return (q @ k.transpose(-1, -2) * self.head_dim**-0.5).softmax(-1) @ v

    def extra_repr(self) -> str:
        return f"heads={self.heads}, groups={self.groups}, written={self.written!r}"


class FusedAttention(nn.Module):
    """One layer makes queries, keys and values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.num_heads, self.head_dim = heads, 4
        self.qkv, self.proj = nn.Linear(width, 3 * heads * 4), nn.Linear(heads * 4, width)

    def forward(self, x: Tensor) -> Tensor:
        n, t, _ = x.shape
        q, k, v = self.qkv(x).reshape(n, t, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v)
        return x + self.proj(y.transpose(1, 2).reshape(n, t, -1))

    def extra_repr(self) -> str:
        return f"heads={self.num_heads}"


class Mlp(nn.Module):
    def __init__(self, width: int, hidden: int, *, gated: bool) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.gate = nn.Linear(width, hidden) if gated else None

    def forward(self, x: Tensor) -> Tensor:
        y = F.gelu(self.up(x))
        return x + self.down(y if self.gate is None else y * self.gate(x))


class Head(nn.Module):
    """Classes from a picture, by its mean or by all of a small grid."""

    def __init__(self, width: int, *, flat: bool) -> None:
        super().__init__()
        self.flat = flat
        self.fc = nn.Linear(4 * width if flat else width, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(F.adaptive_avg_pool2d(x, 2).flatten(1) if self.flat else x.mean((2, 3)))

    def extra_repr(self) -> str:
        return f"flat={self.flat}"


# ------------------------------------------------------------------------------------------ how they are drawn


def _conv(draw: Draw, width: int, depth: int) -> Made:
    out, kernel = draw(st.sampled_from(WIDTHS)), draw(st.sampled_from((1, 3)))
    return nn.Conv2d(width, out, kernel, padding=kernel // 2, bias=draw(st.booleans())), out


def _grouped(draw: Draw, width: int, depth: int) -> Made:
    groups = draw(st.sampled_from([g for g in (2, 3, 4, width) if width % g == 0]))
    out = groups * draw(st.integers(1, 3)) if groups < width else width
    return nn.Conv2d(width, out, 3, padding=1, groups=groups), out


def _activation(draw: Draw, width: int, depth: int) -> Made:
    return draw(st.sampled_from((nn.ReLU, nn.GELU, nn.Hardswish)))(), width


def _norm(draw: Draw, width: int, depth: int) -> Made:
    kind = draw(st.sampled_from(("batch", "group", "channels", "instance", "whole")))
    if kind == "group":
        return nn.GroupNorm(draw(st.sampled_from([g for g in (1, 2, 3, 4) if width % g == 0])), width), width
    if kind == "whole":
        return nn.GroupNorm(1, width), width
    made = {"batch": nn.BatchNorm2d, "channels": ChannelNorm}.get(kind)
    return (made(width) if made else nn.InstanceNorm2d(width, affine=draw(st.booleans()))), width


def _residual(draw: Draw, width: int, depth: int) -> Made:
    inner, out = _steps(draw, width, depth - 1)
    return Residual(nn.Sequential(*inner, nn.Conv2d(out, width, 1))), width


def _concatenated(draw: Draw, width: int, depth: int) -> Made:
    branches = [_steps(draw, width, depth - 1) for _ in range(draw(st.integers(1, 2)))]
    around: list[Made] = [(nn.Identity(), width)] if draw(st.booleans()) else []
    parts = [*around, *((nn.Sequential(*steps), out) for steps, out in branches)]
    return Concatenated(*(part for part, _ in parts)), sum(out for _, out in parts)


def _split(draw: Draw, width: int, depth: int) -> Made:
    if width % 2:
        return nn.Identity(), width
    inner, out = _steps(draw, width // 2, depth - 1)
    return Split(width // 2, nn.Sequential(*inner), chunk=draw(st.booleans())), out + width // 2


def _product(draw: Draw, width: int, depth: int) -> Made:
    out = draw(st.sampled_from(WIDTHS))
    return Product(nn.Conv2d(width, out, 1), nn.Conv2d(width, out, 3, padding=1)), out


def _shuffle(draw: Draw, width: int, depth: int) -> Made:
    return Shuffle(draw(st.sampled_from([g for g in (1, 2, 3) if width % g == 0]))), width


def _squeeze(draw: Draw, width: int, depth: int) -> Made:
    return SqueezeExcite(width), width


def _shared(draw: Draw, width: int, depth: int) -> Made:
    return Shared(width), width


def _resampled(draw: Draw, width: int, depth: int) -> Made:
    """Inside other steps the size stays, since branches meet again."""
    kind = draw(st.sampled_from(("pool", "max", "up", "transposed")))
    if kind == "transposed":
        out, size = draw(st.sampled_from(WIDTHS)), (2 if depth == OUTERMOST else 1)
        return nn.ConvTranspose2d(width, out, size, stride=size), out
    if kind == "up" and depth == OUTERMOST:
        return nn.Upsample(scale_factor=2), width
    return (nn.AvgPool2d if kind == "pool" else nn.MaxPool2d)(3, 1, 1), width


def _pixels(draw: Draw, width: int, depth: int) -> Made:
    out = draw(st.integers(1, 3))
    back: list[nn.Module] = [] if depth == OUTERMOST else [nn.AvgPool2d(2)]
    return nn.Sequential(nn.Conv2d(width, 4 * out, 1), nn.PixelShuffle(2), *back), out


def _tokens(draw: Draw, width: int, depth: int) -> Made:
    steps = [draw(st.sampled_from(TOKENS))(draw, width) for _ in range(draw(st.integers(1, 2)))]
    return Tokens(*steps), width


def _attention(draw: Draw, width: int) -> nn.Module:
    heads = draw(st.sampled_from((2, 3)))
    return Attention(width, heads, heads, written=draw(st.sampled_from(("fused", "products"))))


def _fused(draw: Draw, width: int) -> nn.Module:
    return FusedAttention(width, draw(st.sampled_from((2, 3))))


def _mlp(draw: Draw, width: int) -> nn.Module:
    return Mlp(width, draw(st.sampled_from(WIDTHS)), gated=draw(st.booleans()))


def _token_norm(draw: Draw, width: int) -> nn.Module:
    return nn.LayerNorm(width)


def _grouped_queries(draw: Draw, width: int, depth: int) -> Made:
    groups, times = draw(st.sampled_from((1, 2))), draw(st.sampled_from((2, 3)))
    written = draw(st.sampled_from(("enable_gqa", "fused", "products")))
    return Tokens(Attention(width, groups * times, groups, written=written)), width


def _rms(draw: Draw, width: int, depth: int) -> Made:
    return Tokens(nn.RMSNorm(width), nn.Linear(width, width)), width


TOKENS = (_attention, _fused, _mlp, _token_norm)
PLAIN = (_conv, _grouped, _activation, _norm, _product, _shuffle, _squeeze, _shared, _resampled, _pixels, _tokens)
NESTED = (_residual, _concatenated, _split)
GROUPED_QUERIES, RMS_NORM = _grouped_queries, _rms


def _steps(draw: Draw, width: int, depth: int, kinds: Sequence[Callable[..., Made]] = PLAIN) -> tuple[list, int]:
    """A few steps in a row; those that hold steps themselves only where `depth` is left."""
    steps: list[nn.Module] = []
    for _ in range(draw(st.integers(1, 3))):
        step, width = draw(st.sampled_from((*kinds, *(NESTED if depth else ()))))(draw, width, depth)
        steps.append(step)
    return steps, width


@st.composite
def networks(draw: Draw, also: Sequence[Callable[..., Made]] = ()) -> nn.Module:
    """A network on pictures of three channels, with `also` surely among its steps."""
    torch.manual_seed(0)
    width = draw(st.sampled_from(WIDTHS))
    steps, out = _steps(draw, width, OUTERMOST)
    for kind in also:
        step, out = kind(draw, out, 0)
        steps.append(step)
    return nn.Sequential(nn.Conv2d(3, width, 3, padding=1), *steps, Head(out, flat=draw(st.booleans()))).eval()
