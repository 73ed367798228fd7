"""Tar shards as webdataset lays them out: the files of one example stand together and share their name's beginning."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image

from infoprune.data.base import Facts, Task, data_set, root_folder
from infoprune.data.files import ENDINGS, opened
from infoprune.data.held_out import HELD_OUT, TRAIN, named_halves, picture_task, split
from infoprune.data.preprocessing import View
from infoprune.errors import MissingData, UnusableData

FACTS = Facts(None, 224)
LAYOUT = "*.tar with <key>.jpg and <key>.cls (or .json with a label); train and val in the names of shards or folders"
LABELLED = (".cls", ".json")
LARGEST_LABEL = 1 << 16  # bytes


@dataclass(frozen=True)
class Where:
    """A file inside a shard."""

    shard: Path
    start: int
    size: int

    def read(self) -> bytes:
        with self.shard.open("rb") as file:
            file.seek(self.start)
            return file.read(self.size)


class Shards(Sequence):
    """(picture, label) by number; pictures are read where they lie in the shards."""

    def __init__(self, shards: Sequence[Path]):
        examples = [example for shard in shards for example in _examples(shard)]
        self.pictures, self.labels = [where for where, _ in examples], [label for _, label in examples]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: Any) -> tuple[Image.Image, int]:
        where = self.pictures[i]
        try:
            with Image.open(io.BytesIO(where.read())) as image:
                return opened(image), self.labels[i]
        except OSError as error:
            raise UnusableData(f"a picture in {where.shard} cannot be read ({error}); make the shard again") from error


@data_set("webdataset", FACTS)
def webdataset(
    root: str | Path | None = None, *, size: int | None = None, seed: int = 0, view: View | None = None
) -> Task:
    """Tar shards under the root, of pictures with their .cls (every fifth is held out where no name says val)."""
    place = root_folder(root, "webdataset", LAYOUT, "webdataset.ShardWriter")
    shards = [place] if place.is_file() else sorted(place.rglob("*.tar"))
    if not shards:
        raise MissingData(f"{place} holds no .tar file; needed: {LAYOUT}")
    parts = {half: [shard for shard in shards if _half(shard, place) == half] for half in ("train", "val")}
    named = named_halves({half: Shards(files) for half, files in parts.items() if files})
    train, val = named or split(Shards(shards))
    for half in (train, val):
        if not len(half):
            raise MissingData(f"{place} holds too few examples; needed: {LAYOUT}")
    classes = 1 + max(Shards(shards).labels if named is None else [*named[0].labels, *named[1].labels])
    return picture_task("webdataset", train, val, FACTS, size=size, seed=seed, view=view, classes=classes)


def _half(shard: Path, place: Path) -> str:
    """By the words of its name and of its folders; "all" where they say nothing."""
    words = str(shard.relative_to(place) if shard != place else shard.name).lower()
    words = "".join(letter if letter.isalpha() else " " for letter in words).split()
    return "val" if set(words) & set(HELD_OUT) else "train" if set(words) & set(TRAIN) else "all"


def _examples(shard: Path) -> Iterator[tuple[Where, int]]:
    """Pictures with their labels, in the order of the shard."""
    key, picture, label = "", None, None
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                if not member.isfile():
                    continue
                name = PurePosixPath(member.name)
                here, ending = str(name.with_name(name.name.split(".")[0])), name.suffix.lower()
                if here != key:
                    key, picture, label = here, None, None
                where = Where(shard, member.offset_data, member.size)
                if ending in ENDINGS:
                    picture = where
                elif ending in LABELLED and label is None:
                    label = _label(where, ending, member.name)
                if picture is not None and label is not None:
                    yield picture, label
                    picture, label = None, None
    except tarfile.TarError as error:
        raise UnusableData(f"{shard} is not a plain tar file ({error}); needed: {LAYOUT}") from error


def _label(where: Where, ending: str, name: str) -> int:
    try:
        if where.size > LARGEST_LABEL:
            raise ValueError(f"{where.size} bytes")
        content = json.loads(where.read()) if ending == ".json" else int(where.read())
        label = content["label"] if isinstance(content, dict) else content
        if isinstance(label, bool) or not isinstance(label, int) or label < 0:
            raise ValueError(f"{label!r:.40}")
    except (ValueError, KeyError) as error:
        raise UnusableData(f"{name} in {where.shard} holds no number of a class ({error}); needed: {LAYOUT}") from error
    return label
