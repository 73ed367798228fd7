"""JSON from strangers: nothing is read that would take far more memory than its text."""

from __future__ import annotations

import json
from typing import Any

from infoprune.errors import BadArtifact

LARGEST, MOST_VALUES, MOST_CONTAINERS = 64 << 20, 1 << 21, 1 << 18  # bytes, and what they may hold


def parsed(text: str | bytes, what: str) -> Any:
    """What the text says; BadArtifact if it is no JSON, or holds more values than any plan has."""
    if not isinstance(text, str | bytes):
        raise TypeError(f"{what} is a {type(text).__name__}; give its text")
    if len(text) > LARGEST:
        raise BadArtifact(f"{what} has {len(text)} bytes; at most {LARGEST} are read")
    values, containers = _count(text, ",:"), _count(text, "[{")
    if values > MOST_VALUES or containers > MOST_CONTAINERS:
        raise BadArtifact(f"{what} holds {containers} lists and {values} values, more than any plan; it is not read")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        message = str(error).partition(";")[0]  # after it Python says how to lift its limits
        raise BadArtifact(f"{what} is not JSON ({message:.100}); write it again with infoprune") from error


def _count(text: str | bytes, marks: str) -> int:
    return sum(text.count(mark) if isinstance(text, str) else text.count(mark.encode()) for mark in marks)
