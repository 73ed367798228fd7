"""Data sets of Hugging Face's `datasets` as `save_to_disk` leaves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from infoprune.data.base import Facts, Task, data_set, root_folder
from infoprune.data.held_out import named_halves, size_of, split
from infoprune.data.items import INPUTS, LABELS, examples_of
from infoprune.data.preprocessing import USUAL, View
from infoprune.errors import MissingData, MissingExtra, UnusableData, first_line

FACTS = Facts(None, 224)
LAYOUT = "what datasets' save_to_disk wrote, with a column of pictures and one of labels"


@data_set("hf_datasets", FACTS)
def hf_datasets(
    root: str | Path | None = None, *, size: int | None = None, seed: int = 0, view: View | None = None
) -> Task:
    """A folder that Hugging Face's datasets wrote with save_to_disk (every fifth is held out if it has one half)."""
    place = root_folder(root, "hf_datasets", LAYOUT, "Dataset.save_to_disk")
    halves = _halves(place)
    side = size_of(size, FACTS, view)
    options: dict[str, Any] = {"view": view or USUAL, "size": side, "seed": seed}
    train, held_out = examples_of(halves[0], augment=True, **options), examples_of(halves[1], **options)
    return FACTS.task("hf_datasets", train, held_out, side, _classes(halves[0], train))


def _halves(place: Path) -> tuple[Any, Any]:
    try:
        import datasets
    except ImportError as error:
        raise MissingExtra(f"{place} is read by the package datasets; install infoprune[datasets]") from error
    try:
        dataset: Any = datasets.load_from_disk(str(place))
    except Exception as error:  # its readers fail in many ways
        raise MissingData(f"{place} cannot be read ({first_line(error)}); needed: {LAYOUT}") from error
    if isinstance(dataset, dict):
        halves = named_halves(dataset)
        if halves is None:
            raise UnusableData(f"{place} holds {', '.join(dataset)}; needed: train, and one of validation and test")
        return halves
    return split(dataset)


def _classes(half: Any, train: Any) -> int:
    """As the column of labels says, or as the labels do."""
    features = getattr(getattr(half, "dataset", half), "features", None) or {}
    labels = next((features[name] for name in LABELS if name in features), None)
    if not any(name in features for name in INPUTS) or labels is None:
        raise UnusableData(
            f"columns are {', '.join(features)}; needed: one of {', '.join(INPUTS)} and of {', '.join(LABELS)}"
        )
    return getattr(labels, "num_classes", None) or train.classes
