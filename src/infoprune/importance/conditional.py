"""What readers lose with a unit when the others make up for it: conditional entropy weighed by what is read of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from infoprune.errors import StaleObservations, UnusableData
from infoprune.estimators.elimination import Elimination, Reader, eliminate
from infoprune.graph import Graph
from infoprune.graph.member import Member
from infoprune.graph.site_scores import score_sites
from infoprune.importance.base import About, GroupImportance, importances, size_of
from infoprune.observe import Observations
from infoprune.observe.moments import Moments
from infoprune.observe.reader_layers import columns_of, groups_of


@importances.register("conditional")
@dataclass(frozen=True)
class ConditionalImportance(GroupImportance):
    """sum over readers of |W_:j|^2 Var(x_j | the others that are left) / Var(W x), greedily, from the least on.

    Units leave one by one, each time the one whose loss the rest best makes up for; a unit scores what has been lost in
    all once it has left, so that one order serves every budget. Under a Gaussian model Var(x_j | rest) is
    exp(2 h(x_j | rest)) / (2 pi e), a conditional entropy: information capacity and independence as one number,
    measured on data and weighed by what is read of it. It is the choice for `compensate_`, which lets the rest make up.

    `seen` comes from `infoprune.observe(model, loader, moments=True)`. Units of several columns (heads, flattened maps)
    leave as a block; several readers add up. A group that no observed layer reads gets no scores.
    """

    about: ClassVar[About] = About(
        "Hassibi and Stork 1993, a layer at a time", "units x columns^2 a reader", needs_data=True, needs_moments=True
    )

    seen: Observations = field(repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.seen, Observations):
            raise TypeError(f"seen is {type(self.seen).__name__}; pass what infoprune.observe(model, loader) gave")
        if self.seen.moments is None:
            raise UnusableData("no moments were observed; call observe(model, loader, moments=True)")

    @property
    def _moments(self) -> Moments:
        assert self.seen.moments is not None
        return self.seen.moments

    def judge(self, members: Sequence[Member], roots: Sequence[int]) -> Tensor | None:
        elimination = self.elimination(members, roots)
        return None if elimination is None else elimination.losses()[: len(roots)]

    def losses(self, model: nn.Module, example_inputs: Any) -> dict[str, np.ndarray]:
        """site -> what its readers lose when k units stay, for k from none to all: shares of output variance, summed.

        They come with the one order in which units leave, so that all widths cost as much as one. Those of different
        sites do not add up to the loss of the network.
        """
        return self.losses_of(Graph.trace(model, example_inputs))

    def losses_of(self, graph: Graph) -> dict[str, np.ndarray]:
        """The `losses` of a graph's sites."""
        scores = score_sites(graph, replace(self, normalizer=None))
        return {site: np.append(np.sort(lost)[::-1], 0.0) for site, lost in scores.items()}

    def errors(self, model: nn.Module, example_inputs: Any) -> dict[str, np.ndarray]:
        """site -> standard errors of its `losses`, from the two halves of the batches: half of what lies between them.

        Of single widths they are rough, with one degree of freedom each. They say how much the losses would be others
        with other samples, and not that a fit from few samples promises too much.
        """
        halves = (replace(self, seen=replace(self.seen, moments=half)) for half in self._moments.halves())
        one, other = (half.losses(model, example_inputs) for half in halves)
        return {site: np.abs(lost - other[site]) / 2 for site, lost in one.items()}

    def elimination(self, members: Sequence[Member], roots: Sequence[int]) -> Elimination | None:
        """The order in which the units of a group leave, and what each costs."""
        others = _others(members, roots)
        readers = [reader for member in members for reader in self._readers(member, roots, others)]
        return eliminate(readers) if readers else None

    def _readers(self, member: Member, roots: Sequence[int], others: Tensor) -> Iterator[Reader]:
        """The member's layer, group by group, with the columns of each unit."""
        if member.role != "in":
            return
        seen = self._moments.layers.get(member.name)
        if seen is None and member.name not in {**self.seen.layers, **self.seen.silent}:
            raise StaleObservations(f"{member.name} was never observed; observe() the model as it is now")
        if seen is None:
            return
        layer: Any = member.layer
        weight = columns_of(layer, layer.weight.detach()).to(seen.x.device)
        if weight.shape[::3] != seen.x.shape:
            raise StaleObservations(
                f"{member.name} reads {weight.shape[-1]} columns and was observed with {seen.x.shape[-1]}; observe() "
                "again after pruning"
            )
        covariance = seen.covariance()
        for group, index in enumerate(_by_group(member, len(roots), weight.shape[-1])):
            extra = _columns_of_others(member, roots, others, weight.shape[-1], index.shape[1])
            yield Reader.of(weight[group].flatten(0, 1), covariance[group], torch.cat([index, extra]))


def _by_group(member: Member, units: int, columns: int) -> Iterator[Tensor]:
    """For every group of the layer the columns of each unit, units x m."""
    for group in range(groups_of(member.layer)):
        here = member.index // columns == group
        index, root = member.index[here] % columns, member.root[here]
        order = torch.argsort(root, stable=True)
        counts = torch.bincount(root, minlength=units)
        most = int(counts.max()) if len(root) else 1
        table = torch.full((units, max(1, most)), -1)
        place = torch.arange(len(order)) - (counts.cumsum(0) - counts)[root[order]]
        table[root[order], place] = index[order]
        table[counts < most] = -1
        yield table


def _others(members: Sequence[Member], roots: Sequence[int]) -> Tensor:
    """The root's channels that nobody asked about: they leave in their turn, so that questions don't change answers."""
    root = members[0]
    size = size_of(root)
    asked = torch.zeros(size, dtype=torch.bool)
    asked[root.index] = True
    return (~asked).nonzero()[:, 0] if len(root.index) == len(roots) else torch.zeros(0, dtype=torch.long)


def _columns_of_others(member: Member, roots: Sequence[int], others: Tensor, columns: int, width: int) -> Tensor:
    """Where a layer reads them: as far from the asked ones as in the root; nowhere if that is not one distance."""
    nowhere = torch.full((len(others), width), -1)
    shift = member.index - torch.tensor(roots)[member.root]
    if width > 1 or not len(shift) or bool((shift != shift[0]).any()):
        return nowhere
    place = others + shift[0]
    return torch.where((place >= 0) & (place < columns), place, -1)[:, None]
