"""Convolutional networks in the ways people write them, one way each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from third_party.entry import Entry, pictures


def conv(i: int, o: int, k: int = 3, **more: int) -> nn.Conv2d:
    return nn.Conv2d(i, o, k, padding=k // 2, **more)


class Picture(nn.Module):
    """A stem of 32 channels, the part under test, and a classifier of 5 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = conv(3, 32), nn.BatchNorm2d(32)
        self.build()
        self.head = nn.Linear(32, 5)

    def build(self) -> None:
        self.one, self.two = conv(32, 48), conv(48, 32)

    def middle(self, x: Tensor) -> Tensor:
        return self.two(torch.relu(self.one(x)))

    def forward(self, x: Tensor) -> Any:
        return self.head(self.middle(torch.relu(self.norm(self.stem(x)))).mean((2, 3)))


class Residual(Picture):
    def middle(self, x: Tensor) -> Tensor:
        return torch.relu(x + super().middle(x))


class InPlace(Picture):
    """Additions and activations in place."""

    def middle(self, x: Tensor) -> Tensor:
        y = super().middle(x)
        y += x
        return F.relu_(y)


class DictOutput(Picture):
    def forward(self, x: Tensor) -> dict[str, Any]:
        y = self.middle(torch.relu(self.norm(self.stem(x))))
        return {"logits": self.head(y.mean((2, 3))), "features": [y]}


@dataclass
class Answer:
    logits: Tensor
    features: Tensor


class DataclassOutput(Picture):
    def forward(self, x: Tensor) -> Answer:
        y = self.middle(torch.relu(self.norm(self.stem(x))))
        return Answer(self.head(y.mean((2, 3))), y)


class NamespaceOutput(Picture):
    def forward(self, x: Tensor) -> SimpleNamespace:
        y = self.middle(torch.relu(self.norm(self.stem(x))))
        return SimpleNamespace(logits=self.head(y.mean((2, 3))), features=y)


class Pair(NamedTuple):
    logits: Tensor
    features: Tensor


class TupleOutput(Picture):
    def forward(self, x: Tensor) -> Pair:
        y = self.middle(torch.relu(self.norm(self.stem(x))))
        return Pair(self.head(y.mean((2, 3))), y)


class SqueezeExcite(Picture):
    def build(self) -> None:
        super().build()
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), conv(32, 8, 1), nn.ReLU(), conv(8, 32, 1), nn.Sigmoid())

    def middle(self, x: Tensor) -> Tensor:
        y = super().middle(x)
        return y * self.gate(y)


class EfficientChannelAttention(Picture):
    """A convolution runs over the channels."""

    def build(self) -> None:
        super().build()
        self.slide = nn.Conv1d(1, 1, 3, padding=1)

    def middle(self, x: Tensor) -> Tensor:
        y = super().middle(x)
        gate = self.slide(y.mean((2, 3)).unsqueeze(1)).squeeze(1)
        return y * gate.sigmoid()[:, :, None, None]


class SplitShuffle(Picture):
    """ShuffleNetV2's unit."""

    def build(self) -> None:
        self.branch = nn.Sequential(conv(16, 16, 1), nn.ReLU(), conv(16, 16, groups=16), conv(16, 16, 1))

    def middle(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, 1)
        y = torch.cat([a, self.branch(b)], 1)
        n, c, h, w = y.shape
        return y.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


class PartialConvolution(Picture):
    """FasterNet's unit: a quarter is convolved, its size a number in the code."""

    def build(self) -> None:
        self.part, self.up, self.down = conv(8, 8), conv(32, 64, 1), conv(64, 32, 1)

    def middle(self, x: Tensor) -> Tensor:
        a, b = torch.split(x, [8, 24], 1)
        return x + self.down(torch.relu(self.up(torch.cat([self.part(a), b], 1))))


class TemporalShift(Picture):
    def middle(self, x: Tensor) -> Tensor:
        fold = x.size(1) // 4
        x = torch.cat([x[:, :fold].roll(1, 0), x[:, fold : 2 * fold].roll(-1, 0), x[:, 2 * fold :]], 1)
        return super().middle(x)


class PixelShuffle(Picture):
    def build(self) -> None:
        self.body, self.many = conv(32, 48), conv(48, 128)

    def middle(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(self.many(torch.relu(self.body(x))), 2)


class SliceAssignment(Picture):
    """A buffer of zeros is filled in parts."""

    def middle(self, x: Tensor) -> Tensor:
        y = torch.relu(self.one(x))
        shifted = torch.zeros(y.shape)
        shifted[:, :, 1:] = y[:, :, :-1]
        return self.two(shifted)


class SinglePrecision(Picture):
    """A loss-like part insists on single precision."""

    def middle(self, x: Tensor) -> Tensor:
        return super().middle(x).float() * 1.0


class WeightNorm(Picture):
    def build(self) -> None:
        super().build()
        self.one = nn.utils.parametrizations.weight_norm(self.one)


class SpectralNorm(Picture):
    def build(self) -> None:
        super().build()
        self.one = nn.utils.parametrizations.spectral_norm(self.one)


class Masked(Picture):
    """A layer under a mask of torch.nn.utils.prune."""

    def build(self) -> None:
        super().build()
        import torch.nn.utils.prune as masks

        masks.l1_unstructured(self.one, "weight", 0.3)


class HandBatchNorm(Picture):
    """Folded statistics as plain parameters."""

    def build(self) -> None:
        super().build()
        self.scale, self.shift = nn.Parameter(torch.rand(48, 1, 1) + 0.5), nn.Parameter(torch.rand(48, 1, 1))

    def middle(self, x: Tensor) -> Tensor:
        return self.two(torch.relu(self.one(x) * self.scale + self.shift))


class Branch(Picture):
    """Which layer runs depends on the data, and the second input takes the other way than the example."""

    def build(self) -> None:
        super().build()
        self.other = conv(48, 32)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.one(torch.relu(self.norm(self.stem(x)))))
        return self.head((self.two(y) if x.mean() > 0 else self.other(y)).mean((2, 3)))


def either_way(batch: int) -> tuple[Tensor]:
    """Positive pictures for two, negative ones for three."""
    return (pictures(16)(batch)[0].abs() * (1 if batch == 2 else -1),)


class StridedSlices(Picture):
    """Even channels before odd ones."""

    def middle(self, x: Tensor) -> Tensor:
        y = torch.relu(self.one(x))
        return self.two(torch.cat([y[:, ::2], y[:, 1::2]], 1))


def compiled() -> nn.Module:
    return torch.compile(Residual(), backend="eager")  # type: ignore[return-value]


def compiled_slices() -> nn.Module:
    return torch.compile(StridedSlices(), backend="eager")  # type: ignore[return-value]


def parallel() -> nn.Module:
    return nn.DataParallel(Residual())


def symbolic() -> nn.Module:
    return torch.fx.symbolic_trace(Residual())


def hand(name: str, build: Callable[[], nn.Module], inputs: Any) -> Entry:
    return Entry(f"hand_{name}", "by hand", "by hand", build, inputs)


PICTURE = pictures(16)
ENTRIES = [
    hand("residual", Residual, PICTURE),
    hand("in_place", InPlace, PICTURE),
    hand("dict_output", DictOutput, PICTURE),
    hand("dataclass_output", DataclassOutput, PICTURE),
    hand("namespace_output", NamespaceOutput, PICTURE),
    hand("namedtuple_output", TupleOutput, PICTURE),
    hand("squeeze_excite", SqueezeExcite, PICTURE),
    hand("efficient_channel_attention", EfficientChannelAttention, PICTURE),
    hand("split_shuffle", SplitShuffle, PICTURE),
    hand("partial_convolution", PartialConvolution, PICTURE),
    hand("temporal_shift", TemporalShift, PICTURE),
    hand("pixel_shuffle", PixelShuffle, PICTURE),
    hand("slice_assignment", SliceAssignment, PICTURE),
    hand("single_precision", SinglePrecision, PICTURE),
    hand("weight_norm", WeightNorm, PICTURE),
    hand("spectral_norm", SpectralNorm, PICTURE),
    hand("prune_mask", Masked, PICTURE),
    hand("hand_batch_norm", HandBatchNorm, PICTURE),
    hand("branch", Branch, either_way),
    hand("strided_slices", StridedSlices, PICTURE),
    hand("compiled", compiled, PICTURE),
    hand("compiled_slices", compiled_slices, PICTURE),
    hand("data_parallel", parallel, PICTURE),
    hand("fx", symbolic, PICTURE),
]
