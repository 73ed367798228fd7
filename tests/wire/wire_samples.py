"""Features and selections that the tests of the wire share."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from infoprune.wire import codecs
from infoprune.wire.codec import codec_at

CODECS = tuple(codec_at(kind, 20 * kind.has_qp) for kind in codecs.values())


def maps(*shape: int, seed: int = 0) -> Tensor:
    """Smooth random features after a ReLU, each of another size."""
    generator = torch.Generator().manual_seed(seed)
    rough = torch.randn(shape, generator=generator)
    smooth = torch.nn.functional.avg_pool2d(rough.view(-1, 1, *shape[-2:]), 3, 1, 1).view(shape)
    return smooth.relu() * torch.arange(1, shape[-3] + 1).view(-1, 1, 1)


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A grey picture with flat areas, edges and texture."""
    random = np.random.default_rng(seed)
    blocks = np.kron(random.random((-(-height // 8), -(-width // 8))), np.ones((8, 8)))[:height, :width]
    return (200 * blocks + 40 * random.random((height, width))).astype(np.uint8)
