"""What lies at a path, as the name of the data set that reads it."""

from __future__ import annotations

from pathlib import Path

from infoprune.data.base import datasets
from infoprune.errors import MissingData
from infoprune.own_code import file_and_name
from infoprune.registry import nearest


def named_by(text: str) -> dict[str, str]:
    """The name, and the root or file, that one word on a command line means: a data set's name, a path or data.py:NAME.

    >>> named_by("digits")
    {'name': 'digits'}
    """
    own = file_and_name(text)
    if own is not None:
        return {"file": str(own[0]), "name": own[1]}
    if text in datasets:
        return {"name": text}
    place = Path(text)
    if not place.exists():
        raise MissingData(f"{text!r} is neither a data set nor a path that exists; {nearest(text, list(datasets))}")
    return {"name": kind_of(place), "root": text}


def kind_of(place: Path) -> str:
    """The data set that reads what lies there, by its files."""
    if place.is_file():
        return "tensors" if place.suffix == ".safetensors" else "webdataset"
    if any((place / name).is_file() for name in ("dataset_dict.json", "dataset_info.json", "state.json")):
        return "hf_datasets"
    return "folder" if next(place.rglob("*.tar"), None) is None else "webdataset"
