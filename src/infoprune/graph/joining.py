"""One rule for every operation in which tensors meet: sums, products, contractions, convolutions, attention.

The axes of each operand are named by letters as in einsum; a letter that is missing from the output is contracted.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from infoprune.graph.labels import Ledger, Marks, compact, major_axis, varying

Letter = Hashable


@dataclass(frozen=True)
class Operand:
    """A tensor in an operation: one letter an axis, None for an axis that takes no part (of size 1, or spatial)."""

    marks: Marks
    letters: tuple[Letter | None, ...]

    def has_fixed(self, letter: Letter) -> bool:
        """Whether the tensor's size along this letter stays as it is, if nothing labelled says otherwise."""
        repeated = {self.letters[axis] for plane in self.marks.repeated for axis in varying(plane)}
        return letter in self.letters and not self.marks.adaptive and letter not in repeated


class Strand(NamedTuple):
    """One plane of one operand, over the letters on which it changes."""

    owner: int
    letters: tuple[Letter, ...]
    labels: Tensor

    def along(self, letter: Letter) -> int:
        return self.letters.index(letter)


def join(ledger: Ledger, operands: Sequence[Operand], output: Sequence[Letter | None]) -> list[Strand]:
    """Tie what the operation ties; return the strands that go on into the output."""
    strands = [strand for owner, operand in enumerate(operands) for strand in _strands(ledger, owner, operand)]
    clusters = [part for cluster in _clusters(strands) for part in _single_valued(ledger, cluster)]
    joined = [_join_cluster(ledger, cluster, operands) for cluster in clusters]
    return [kept for strand in joined if strand and (kept := _without_contracted(ledger, strand, output))]


def spread(strand: Strand, output: Sequence[Letter | None], shape: Sequence[int]) -> Tensor:
    """The strand as a plane of a tensor with these output letters and this shape."""
    present = [letter for letter in output if letter in strand.letters]
    labels = strand.labels.permute([strand.along(letter) for letter in present])
    sizes = iter(labels.shape)
    view = [next(sizes) if letter in strand.letters else 1 for letter in output]
    return labels.reshape(view).expand(tuple(shape))


def _strands(ledger: Ledger, owner: int, operand: Operand) -> list[Strand]:
    strands = []
    for plane in operand.marks.planes:
        mixed = [axis for axis in varying(plane) if operand.letters[axis] is None]
        if mixed and len(mixed) == len(varying(plane)):
            ledger.freeze(plane, "an operation mixes positions that this axis is spread over")
        elif varying(plane):
            plane = ledger.collapse(plane, mixed)
            strands.append(Strand(owner, tuple(operand.letters[axis] for axis in varying(plane)), compact(plane)))
    return strands


def _clusters(strands: Sequence[Strand]) -> list[list[Strand]]:
    clusters: list[list[Strand]] = []
    for strand in strands:
        touching = [c for c in clusters if any(set(strand.letters) & set(other.letters) for other in c)]
        clusters = [c for c in clusters if c not in touching]
        clusters.append([*(s for c in touching for s in c), strand])
    return clusters


def _single_valued(ledger: Ledger, cluster: list[Strand]) -> list[list[Strand]]:
    """Elements with two labels on one axis (a flattened matrix) may pass, but are matched by one of them only.

    That one is the coarsest: of heads whose values are shared, (head, dimension) in one axis, the heads.
    """
    owners = [strand.owner for strand in cluster]
    if len(set(owners)) == len(owners):
        return [cluster]
    if len(set(owners)) == 1:
        return [[strand] for strand in cluster]
    kept = [min((s for s in cluster if s.owner == owner), key=_changes) for owner in dict.fromkeys(owners)]
    for strand in (s for s in cluster if not any(s is k for k in kept)):
        ledger.freeze(strand.labels, "two labelled axes were merged into one")
    return [kept]


def _changes(strand: Strand) -> int:
    """How often the label changes from one element to the next."""
    return int((strand.labels.flatten().diff() != 0).sum())


def _join_cluster(ledger: Ledger, cluster: list[Strand], operands: Sequence[Operand]) -> Strand | None:
    cluster, common = _reconcile(ledger, cluster)
    if not cluster:
        return None
    owners = {strand.owner for strand in cluster}
    absent = {
        letter
        for letter in common
        for owner, operand in enumerate(operands)
        if owner not in owners and operand.has_fixed(letter)
    }
    kept = [letter for letter in common if letter not in absent]
    if not kept:
        for strand in cluster:
            ledger.freeze(strand.labels, "it meets a tensor of fixed size")
        return None
    narrowed = [_restrict(ledger, strand, kept) for strand in cluster]
    for other in narrowed[1:]:
        ledger.tie(narrowed[0].labels, other.labels)
    return narrowed[0]


def _reconcile(ledger: Ledger, cluster: list[Strand]) -> tuple[list[Strand], list[Letter]]:
    """The strands that can be joined and the letters they share; the others are frozen."""
    # Strands meet in one operation with labels along different letters: queries (h, d), one label for every channel d
    # of every head h, times a scale (d) that all heads share. Labels along the letters that all have are tied. But if
    # the slowest axis of the widest (`major`: h, by which units leave) is none of them, tying would make all heads one
    # unit: then what lacks it, the scale, stays whole instead, and h remains free.
    common = [x for x in cluster[0].letters if all(x in strand.letters for strand in cluster)]
    widest = max(cluster, key=lambda strand: len(strand.letters))
    if len(widest.letters) == len(common):
        return cluster, common
    major = widest.letters[major_axis(widest.labels)]
    if major in common:
        return cluster, common
    stay = [strand for strand in cluster if major in strand.letters]
    out = [strand for strand in cluster if major not in strand.letters]
    for strand in out:
        ledger.freeze(strand.labels, "it is shared by all heads or groups")
    taken = {letter for strand in out for letter in strand.letters}
    shared = [x for x in widest.letters if x not in taken and all(x in strand.letters for strand in stay)]
    return stay, shared


def _restrict(ledger: Ledger, strand: Strand, letters: Sequence[Letter]) -> Strand:
    """The strand over these letters in this order, tied along all its others."""
    extra = [axis for axis, letter in enumerate(strand.letters) if letter not in letters]
    labels = ledger.collapse(strand.labels, extra)
    for axis in reversed(extra):
        labels = labels.select(axis, 0)
    rest = [letter for letter in strand.letters if letter in letters]
    return Strand(strand.owner, tuple(letters), labels.permute([rest.index(letter) for letter in letters]))


def _without_contracted(ledger: Ledger, strand: Strand, output: Sequence[Letter | None]) -> Strand | None:
    kept = [letter for letter in strand.letters if letter in output]
    return _restrict(ledger, strand, kept) if kept else None
