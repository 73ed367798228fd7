"""Small networks, each with one way in which channels hang together, and inputs for them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv(i: int, o: int, k: int = 3, **more: int) -> nn.Conv2d:
    return nn.Conv2d(i, o, k, padding=k // 2, **more)


class Net(nn.Module):
    """A stem of 8 channels, the part under test, and a classifier of 5 classes."""

    width = 8

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 8)
        self.norm = nn.BatchNorm2d(8)
        self.build()
        self.head = nn.Linear(self.width, 5)

    def build(self) -> None: ...

    def middle(self, x: Tensor) -> Tensor:
        return x

    def forward(self, x: Tensor) -> Tensor:
        x = self.middle(torch.relu(self.norm(self.stem(x))))
        return self.head(x.mean((2, 3)))


class Residual(Net):
    def build(self) -> None:
        self.one, self.two, self.bn = conv(8, 12), conv(12, 8), nn.BatchNorm2d(8)

    def middle(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.bn(self.two(torch.relu(self.one(x)))))


class Dense(Net):
    width = 20

    def build(self) -> None:
        self.one, self.two = conv(8, 6), conv(14, 6)

    def middle(self, x: Tensor) -> Tensor:
        x = torch.cat([x, torch.relu(self.one(x))], 1)
        return torch.cat([x, torch.relu(self.two(x))], 1)


class Chunked(Net):
    """Halves go different ways; torch-pruning swaps them."""

    width = 6

    def build(self) -> None:
        self.wide, self.left, self.right = conv(8, 12), conv(6, 6), conv(6, 6, 1)

    def middle(self, x: Tensor) -> Tensor:
        a, b = self.wide(x).chunk(2, 1)
        return self.left(a) * torch.sigmoid(self.right(b))


class SplitBySizes(Net):
    width = 8

    def build(self) -> None:
        self.sizes = [3, 5]
        self.left, self.right = conv(3, 3), conv(5, 5, 1)

    def middle(self, x: Tensor) -> Tensor:
        a, b = torch.split(x, self.sizes, 1)
        return torch.cat([self.left(a), self.right(b)], 1)


class Shuffled(Net):
    def build(self) -> None:
        self.groups = 2
        self.mix = conv(8, 8, 1)

    def middle(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        x = x.view(n, self.groups, c // self.groups, h, w).transpose(1, 2).reshape(n, c, h, w)
        return self.mix(x)


class Grouped(Net):
    width = 12

    def build(self) -> None:
        self.grouped, self.out = conv(8, 12, groups=2), conv(12, 12, 1)

    def middle(self, x: Tensor) -> Tensor:
        return self.out(torch.relu(self.grouped(x)))


class Depthwise(Net):
    width = 10

    def build(self) -> None:
        self.expand, self.depth, self.project = conv(8, 16, 1), conv(16, 16, groups=16), conv(16, 10, 1)
        self.bn = nn.BatchNorm2d(16)

    def middle(self, x: Tensor) -> Tensor:
        return self.project(torch.relu(self.bn(self.depth(self.expand(x)))))


class Squeezed(Net):
    def build(self) -> None:
        self.down, self.up = conv(8, 4, 1), conv(4, 8, 1)

    def middle(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.up(torch.relu(self.down(x.mean((2, 3), keepdim=True)))))


class Flattened(Net):
    width = 10

    def build(self) -> None:
        self.fc = nn.Linear(8 * 16, 10)

    def middle(self, x: Tensor) -> Tensor:
        return self.fc(F.adaptive_avg_pool2d(x, 4).flatten(1))[:, :, None, None]


class Transposed(Net):
    width = 6

    def build(self) -> None:
        self.up = nn.ConvTranspose2d(8, 6, 2, stride=2)

    def middle(self, x: Tensor) -> Tensor:
        return torch.relu(self.up(x))


class Shared(Net):
    def build(self) -> None:
        self.again = conv(8, 8)

    def middle(self, x: Tensor) -> Tensor:
        return self.again(torch.relu(self.again(x)))


class PixelShuffled(Net):
    width = 4

    def build(self) -> None:
        self.many = conv(8, 16)
        self.out = conv(4, 4)

    def middle(self, x: Tensor) -> Tensor:
        return self.out(F.pixel_shuffle(self.many(x), 2))


class Attention(Net):
    """Two heads of four; its own code names both numbers."""

    def build(self) -> None:
        self.heads, self.head_dim = 2, 4
        self.before, self.qkv, self.out = nn.LayerNorm(8), nn.Linear(8, 24), nn.Linear(8, 8)

    def middle(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        t = x.flatten(2).transpose(1, 2)
        q, k, v = self.qkv(self.before(t)).reshape(n, h * w, 3, self.heads, self.head_dim).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, h * w, -1)
        return (t + self.out(y)).transpose(1, 2).reshape(n, c, h, w)


class FewGroups(Net):
    """Two groups of four channels: each loses the same places."""

    def build(self) -> None:
        self.gn, self.out = nn.GroupNorm(2, 8), conv(8, 8, 1)
        nn.init.uniform_(self.gn.weight, 0.5, 1.5)

    def middle(self, x: Tensor) -> Tensor:
        return self.out(self.gn(x))


class ManyGroups(FewGroups):
    """Four groups of two: whole groups leave, and the norm's own number of groups with them."""

    def build(self) -> None:
        self.gn, self.out = nn.GroupNorm(4, 8), conv(8, 8, 1)
        nn.init.uniform_(self.gn.weight, 0.5, 1.5)


class StandardisedConv(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        flat = self.weight.reshape(1, self.out_channels, -1)
        weight = F.batch_norm(flat, None, None, training=True, momentum=0.0).reshape_as(self.weight)
        return F.conv2d(x, weight, self.bias, padding=self.padding)


class Standardised(Net):
    width = 6

    def build(self) -> None:
        self.one, self.two = StandardisedConv(8, 12, 3, padding=1), StandardisedConv(12, 6, 3, padding=1)

    def middle(self, x: Tensor) -> Tensor:
        return self.two(torch.relu(self.one(x)))


class TwoInputs(Net):
    def build(self) -> None:
        self.other = conv(1, 8)

    def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        x = torch.relu(self.norm(self.stem(x))) + self.other(y)
        return {"logits": self.head(x.mean((2, 3)))}


NETS = (
    Residual, Dense, Chunked, SplitBySizes, Shuffled, Grouped, Depthwise, Squeezed, Flattened, Transposed, Shared,
    PixelShuffled, Attention, FewGroups, ManyGroups, Standardised,
)  # fmt: skip


def image(size: int = 8) -> Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))


def make(net: type[nn.Module]) -> nn.Module:
    """The network with norms that are not the identity, in evaluation mode."""
    torch.manual_seed(0)
    model = net().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    return model


class Concatenated(Dense):
    """What was concatenated crosses through one module."""

    def build(self):
        super().build()
        self.exit = nn.ReLU()

    def middle(self, x):
        return self.exit(super().middle(x))


def features_at(model, layer, x):
    """What `layer` gives out for x."""
    found = []
    handle = model.get_submodule(layer).register_forward_hook(lambda *args: found.append(args[2]))
    with torch.no_grad():
        model(x)
    handle.remove()
    return found[0]


class FixedBatch(nn.Module):
    """Its code takes two examples and no other number."""

    def __init__(self):
        super().__init__()
        self.line = nn.Linear(6, 2)

    def forward(self, x):
        return self.line(x.reshape(2, 6))
