"""CIFAR-10 and CIFAR-100, from the binary files or through torchvision."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from infoprune.data.arrays import Pictures
from infoprune.data.base import Facts, Task, data_set, existing, root_folder

SOURCE = "https://www.cs.toronto.edu/~kriz/cifar.html"
CIFAR10, CIFAR100 = (Facts(classes=n, size=32, fixed=True) for n in (10, 100))
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
MEAN_100, STD_100 = (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)
FILES = [f"data_batch_{i}.bin" for i in range(1, 6)], ["test_batch.bin"]
FILES_100 = ["train.bin"], ["test.bin"]


@data_set("cifar10", CIFAR10)
def cifar10(root: str | Path | None = None, *, size: int | None = None, seed: int = 0) -> Task:
    """CIFAR-10 under `root` as cifar-10-batches-bin or cifar-10-batches-py; shifted by 4 pixels and mirrored."""
    layout = "cifar-10-batches-bin/data_batch_{1..5}.bin and test_batch.bin, or cifar-10-batches-py/"
    place = root_folder(root, "CIFAR-10", layout, SOURCE)
    if (place / "cifar-10-batches-bin").is_dir():
        halves = [_binary(place / "cifar-10-batches-bin", names, 1, layout) for names in FILES]
    else:
        existing(place / "cifar-10-batches-py", "CIFAR-10", layout, SOURCE)
        halves = [_torchvision("CIFAR10", place, train) for train in (True, False)]
    return _task("cifar10", halves, CIFAR10, MEAN, STD, seed)


@data_set("cifar100", CIFAR100)
def cifar100(root: str | Path | None = None, *, size: int | None = None, seed: int = 0) -> Task:
    """CIFAR-100 under `root` as cifar-100-binary or cifar-100-python; shifted by 4 pixels and mirrored."""
    layout = "cifar-100-binary/train.bin and test.bin, or cifar-100-python/"
    place = root_folder(root, "CIFAR-100", layout, SOURCE)
    if (place / "cifar-100-binary").is_dir():
        halves = [_binary(place / "cifar-100-binary", names, 2, layout) for names in FILES_100]
    else:
        existing(place / "cifar-100-python", "CIFAR-100", layout, SOURCE)
        halves = [_torchvision("CIFAR100", place, train) for train in (True, False)]
    return _task("cifar100", halves, CIFAR100, MEAN_100, STD_100, seed)


def _task(name: str, halves: list[tuple[Tensor, Tensor]], facts: Facts, mean: tuple, std: tuple, seed: int) -> Task:
    train = Pictures(*halves[0], mean=mean, std=std, shift=4, mirror=True, seed=seed)
    return facts.task(name, train, Pictures(*halves[1], mean=mean, std=std), None)


def _binary(folder: Path, names: Sequence[str], labels: int, layout: str) -> tuple[Tensor, Tensor]:
    """Rows of label bytes (the last one counts) and 3 x 32 x 32 bytes."""
    rows = [
        np.fromfile(existing(folder / n, "CIFAR file", layout, SOURCE), np.uint8).reshape(-1, labels + 3072)
        for n in names
    ]
    table = torch.from_numpy(np.concatenate(rows))
    return table[:, labels:].reshape(-1, 3, 32, 32).contiguous(), table[:, labels - 1].long()


def _torchvision(name: str, root: Path, train: bool) -> tuple[Tensor, Tensor]:
    """torchvision unpickles these files only after their checksums were found right."""
    import torchvision

    dataset = getattr(torchvision.datasets, name)(root, train=train, download=False)
    return torch.from_numpy(dataset.data).permute(0, 3, 1, 2).contiguous(), torch.tensor(dataset.targets)
