"""Tensors of one's own, from a safetensors file or from Python."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from infoprune.data.arrays import Pictures
from infoprune.data.base import Task, datasets, root_folder
from infoprune.errors import UnusableData

NAMES = ("train_images", "train_labels", "held_out_images", "held_out_labels")
LAYOUT = (
    f"one .safetensors file holding {', '.join(NAMES)} (n x c x h x w, as bytes or normalised floats, and n integers)"
)


@datasets.register("tensors")
def tensors(root: str | Path | None = None, *, size: int | None = None, seed: int = 0) -> Task:
    """A safetensors file of pictures and labels; `size` must be theirs."""
    path = root_folder(root, "tensors", LAYOUT, "safetensors.torch.save_file")
    try:
        held = load_file(path)
    except (SafetensorError, OSError) as error:
        raise UnusableData(f"{path} is not a safetensors file ({error}); needed: {LAYOUT}") from error
    missing = [name for name in NAMES if name not in held]
    if missing:
        raise UnusableData(f"{path} lacks {missing[0]}; needed: {LAYOUT}")
    return task_of(*(held[name] for name in NAMES), seed=seed)


def task_of(
    train_images: Tensor, train_labels: Tensor, held_out_images: Tensor, held_out_labels: Tensor, *, seed: int = 0
) -> Task:
    """A task of tensors that are at hand."""
    for images, labels in ((train_images, train_labels), (held_out_images, held_out_labels)):
        if images.dim() != 4 or len(images) != len(labels) or labels.is_floating_point() or not len(images):
            raise UnusableData(
                f"images are {tuple(images.shape)} and labels {tuple(labels.shape)} of {labels.dtype}; "
                "give n x c x h x w and n integers"
            )
    classes = int(max(train_labels.max(), held_out_labels.max())) + 1
    channels, height, width = train_images.shape[1:]
    train = Pictures(train_images, train_labels.long(), seed=seed)
    return Task("tensors", train, Pictures(held_out_images, held_out_labels.long()), classes, (channels, height, width))
