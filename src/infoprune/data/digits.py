"""The 1,797 handwritten digits that scikit-learn carries: real data without a download."""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from infoprune.data.arrays import Pictures
from infoprune.data.base import Facts, Task, data_set
from infoprune.errors import MissingData

HELD_OUT = 597
FACTS = Facts(classes=10, size=16)


@data_set("digits", FACTS)
def digits(root: str | Path | None = None, *, size: int | None = None, seed: int = 0) -> Task:
    """scikit-learn's digits, 8 x 8, enlarged to `size` (16): 1,200 to train on, 597 held out; needs no download."""
    table, size = _table(), FACTS.height(size)
    small = torch.from_numpy(table[:, :-1].astype(np.float32)).view(-1, 1, 8, 8)
    large = F.interpolate(small, (size, size), mode="bilinear", align_corners=False)
    images = ((large / 16 - 0.3) / 0.35).expand(-1, 3, -1, -1).contiguous()
    labels = torch.from_numpy(table[:, -1])
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    kept, out = order[HELD_OUT:], order[:HELD_OUT]
    train = Pictures(images[kept], labels[kept], shift=max(1, size // 12), seed=seed)
    return FACTS.task("digits", train, Pictures(images[out], labels[out]), size)


def _table() -> np.ndarray:
    """What sklearn.datasets.load_digits() reads: 64 grey values and the digit a row. Importing it takes seconds."""
    spec = importlib.util.find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise MissingData("digits needs the 1,797 digits of scikit-learn; pip install scikit-learn")
    with gzip.open(Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz") as file:
        return np.loadtxt(file, delimiter=",").astype(np.int64)
