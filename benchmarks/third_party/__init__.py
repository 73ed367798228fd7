"""The models of `third_party_zoo.py`: small configurations with random weights from packages that are not ours.

Each file lists the entries of some packages; to add a model, add an `Entry` to a file's ENTRIES. Packages are imported
when a model is built, so that a missing one is missed by its own models alone.
"""

from __future__ import annotations

import importlib

from third_party.entry import Entry

FILES = (
    "hand_written_pictures",
    "hand_written_sequences",
    "transformers_decoders",
    "transformers_encoders",
    "transformers_vision",
    "transformers_audio",
    "diffusion",
    "segmentation",
    "torchvision_tasks",
    "volumes",
    "contrastive",
    "audio",
    "video",
    "vit_variants",
    "restoration",
    "classifiers",
)


def entries() -> dict[str, Entry]:
    """All models by name, in the order of the files."""
    listed = [entry for name in FILES for entry in importlib.import_module(f"third_party.{name}").ENTRIES]
    by_name = {entry.name: entry for entry in listed}
    assert len(by_name) == len(listed), "two entries have one name"
    return by_name
