"""Which features travel, and how: hard selection leaves some behind, soft selection sends some more coarsely."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from infoprune.wire.codec import Codec, Zlib

MOST_FEATURES = 65_535


@dataclass(frozen=True)
class Part:
    """The features with the indices `kept` (ascending), which travel by `codec`."""

    kept: tuple[int, ...]
    codec: Codec


@dataclass(frozen=True)
class Selection:
    """Of `size` features, those of the parts travel; the others arrive as zeros.

    >>> Selection.hard(8, [5, 0])
    Selection(size=8, parts=(Part(kept=(0, 5), codec=Zlib()),))
    """

    size: int
    parts: tuple[Part, ...]

    @classmethod
    def hard(cls, size: int, kept: Sequence[int], codec: Codec | None = None) -> Selection:
        """The features `kept` travel as 8-bit levels (or by `codec`), the others are zero on arrival."""
        return cls(size, (Part(_ascending(kept), codec or Zlib()),))

    @classmethod
    def soft(cls, size: int, base: Sequence[int], codec: Codec, *, base_codec: Codec | None = None) -> Selection:
        """The features `base` travel finely, all others more coarsely.

        Args:
            size: How many features there are.
            base: Indices of those that travel as 8-bit levels.
            codec: For all others.
            base_codec: For `base`, in place of 8-bit levels.
        """
        base, chosen = _ascending(base), set(base)
        rest = tuple(i for i in range(size) if i not in chosen)
        parts = (Part(base, base_codec or Zlib()), Part(rest, codec))
        return cls(size, tuple(part for part in parts if part.kept))

    def __post_init__(self) -> None:
        if not 1 <= self.size <= MOST_FEATURES:
            raise ValueError(f"a selection of {self.size} features; there are from 1 to {MOST_FEATURES}")
        if not 1 <= len(self.parts) <= 2 or not all(part.kept for part in self.parts):
            raise ValueError("the selection sends no feature in one of its parts; keep at least one")
        for part in self.parts:
            if not (all(a < b for a, b in pairwise(part.kept)) and part.kept[0] >= 0 and part.kept[-1] < self.size):
                raise ValueError(
                    f"can't send features {part.kept[:4]}...; give indices from 0 to {self.size - 1}, once"
                )
        if len(self.kept) < sum(len(part.kept) for part in self.parts):
            raise ValueError("a feature is in both parts of the selection; send each once")

    @property
    def kept(self) -> tuple[int, ...]:
        """All features that travel, ascending."""
        return tuple(sorted({i for part in self.parts for i in part.kept}))


def _ascending(indices: Sequence[int]) -> tuple[int, ...]:
    return tuple(sorted(int(i) for i in indices))
