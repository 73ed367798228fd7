"""One line of figures at a time: how much of everything since the line before, and how long it took on average."""

from __future__ import annotations

import json
from collections import Counter
from statistics import fmean


class Meter:
    """Counts, and means of what was seen."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.seen: dict[str, list[float]] = {}

    def add(self, **counts: int) -> None:
        self.counts.update(counts)

    def see(self, **values: float) -> None:
        for name, value in values.items():
            self.seen.setdefault(name, []).append(value)

    def line(self, **now: int) -> str:
        """As JSON, on which all begins again at zero."""
        means = {name: round(fmean(values), 3) for name, values in self.seen.items()}
        told = json.dumps({**now, **self.counts, **means})
        self.counts.clear()
        self.seen.clear()
        return told
