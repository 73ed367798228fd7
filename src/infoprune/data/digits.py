"""The 1,797 handwritten digits that scikit-learn carries: real data without a download."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from infoprune.data.arrays import Pictures
from infoprune.data.base import Task, datasets

HELD_OUT = 597


@datasets.register("digits")
def digits(root: str | Path | None = None, *, size: int | None = None, seed: int = 0) -> Task:
    """scikit-learn's digits, 8 x 8, enlarged to `size` (16): 1,200 to train on, 597 held out; needs no download."""
    from sklearn.datasets import load_digits

    found, size = load_digits(), size or 16
    small = torch.from_numpy(found.images.astype(np.float32))[:, None]
    large = F.interpolate(small, (size, size), mode="bilinear", align_corners=False)
    images = ((large / 16 - 0.3) / 0.35).expand(-1, 3, -1, -1).contiguous()
    labels = torch.from_numpy(found.target.astype(np.int64))
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    kept, out = order[HELD_OUT:], order[:HELD_OUT]
    train = Pictures(images[kept], labels[kept], shift=max(1, size // 12), seed=seed)
    return Task("digits", train, Pictures(images[out], labels[out]), 10, (3, size, size))
