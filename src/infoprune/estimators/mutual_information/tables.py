"""How often patterns met labels, as sorted rows."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Table(NamedTuple):
    """How often each (feature, pattern, combined label) occurred, a row for each, by feature and key."""

    key: Tensor  # identifies pattern and label; key - label identifies the pattern
    label: Tensor
    count: Tensor
    offsets: Tensor  # features + 1: where the rows of each feature begin, and where they end

    def of(self, feature: int) -> tuple[Tensor, Tensor, Tensor]:
        """Key, label and count of one feature."""
        rows = slice(int(self.offsets[feature]), int(self.offsets[feature + 1]))
        return self.key[rows], self.label[rows], self.count[rows]


class Patterns(NamedTuple):
    """The patterns of one feature."""

    rows: Tensor  # which pattern each row of the table is about, ascending
    labels: Tensor  # the combined label of each row
    counts: Tensor  # how often each row occurred
    sizes: Tensor  # how often each pattern occurred


def changes(ordered: Tensor) -> Tensor:
    """Whether each entry differs from the one before; the first does."""
    return torch.cat([torch.ones(min(1, len(ordered)), dtype=torch.bool), ordered[1:] != ordered[:-1]])


def settled_table(tables: list[Table], pending: tuple[tuple[Tensor, Tensor], ...]) -> Table:
    """Everything in one table. Each feature is sorted by itself, which keeps it in the processor's cache."""
    labels = [label for _, label in pending]
    ones = [torch.ones_like(label) for label in labels]
    settled = []
    for feature in range(len(tables[0].offsets) - 1):
        key, label, count = zip(*(table.of(feature) for table in tables), strict=True)
        keys = [keys[feature] for keys, _ in pending]
        settled.append(_added_up(torch.cat([*key, *keys]), torch.cat([*label, *labels]), torch.cat([*count, *ones])))
    key, label, count = (torch.cat(columns) for columns in zip(*settled, strict=True))
    lengths = torch.tensor([0] + [len(rows[0]) for rows in settled])
    return Table(key, label, count, lengths.cumsum(0))


def _added_up(key: Tensor, label: Tensor, count: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The rows in order of their keys, equal ones as one."""
    key, order = key.sort()
    first = changes(key)
    if first.all():
        return key, label[order], count[order]
    start = first.nonzero().flatten()
    totals = count[order].cumsum(0)[torch.cat([start[1:] - 1, torch.tensor([len(key) - 1])])]
    return key[start], label[order[start]], totals.diff(prepend=totals.new_zeros(1)).int()
