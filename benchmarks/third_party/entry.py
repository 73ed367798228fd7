"""One model of the list, and the inputs that many share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Entry:
    """`build()` makes the model, `inputs(batch)` the positional arguments of its forward for so many examples.

    `package` is the name by which pip installs it. `generates`: the model has transformers' `generate`. `batches`:
    the sizes of the example and of the second input.
    """

    name: str
    package: str
    kind: str
    build: Callable[[], nn.Module]
    inputs: Callable[[int], tuple[Any, ...]]
    generates: bool = False
    batches: tuple[int, int] = (2, 3)

    def model(self) -> nn.Module:
        """The model in evaluation mode, the same at every call."""
        torch.manual_seed(0)
        return self.build().eval()


def pictures(size: int = 64, channels: int = 3) -> Callable[[int], tuple[Tensor]]:
    return noise(channels, size, size)


def noise(*shape: int) -> Callable[[int], tuple[Tensor]]:
    """Gaussian numbers of this shape for every example."""
    return lambda batch: (torch.randn(batch, *shape, generator=torch.Generator().manual_seed(batch)),)


def tokens(length: int = 12, vocabulary: int = 100) -> Callable[[int], tuple[Tensor]]:
    """Random ids, none of the first five, which often have meanings of their own."""
    return lambda batch: (
        torch.randint(5, vocabulary, (batch, length), generator=torch.Generator().manual_seed(batch)),
    )


def joined(*parts: Callable[[int], tuple[Any, ...]]) -> Callable[[int], tuple[Any, ...]]:
    """The arguments of all parts, one after another."""
    return lambda batch: tuple(argument for part in parts for argument in part(batch))


def fixed(*values: Any) -> Callable[[int], tuple[Any, ...]]:
    """The same arguments whatever the batch."""
    return lambda batch: values


def hugging_face(model: str, config: str, /, **settings: Any) -> Callable[[], nn.Module]:
    """A builder of transformers' class `model` from its class `config`."""

    def build() -> nn.Module:
        import transformers

        return getattr(transformers, model)(getattr(transformers, config)(**settings))

    return build
