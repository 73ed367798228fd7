"""From ties between labels to sites: units are what leaves together, a site is the units with one footprint."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import nn

from infoprune.graph.labels import Inexactness, free_axis
from infoprune.graph.slots import Attribute, Coupling, Site, Slot, layer_name
from infoprune.graph.tape import Extent, Tape

STAYS = -1
PLACES = ("img", "image", "patch", "window", "grid", "kernel", "stride", "padding")  # sizes in space by name
NUMBERS = ("idx", "layer_id", "layer_index", "layer_number")  # which layer of several it is, and no size at all
Form = tuple[int, tuple[tuple[int, int], ...]]  # fixed + sum of per_unit * count over (site, per_unit)


@dataclass(frozen=True)
class Sorting:
    """For every label its site and its unit there (STAYS where it may not leave)."""

    site_of: np.ndarray
    unit_of: np.ndarray
    sizes: tuple[int, ...]

    def without(self, sites: Sequence[int]) -> Sorting:
        """The same labels with these sites fixed."""
        site_of = np.where(np.isin(self.site_of, list(sites)), STAYS, self.site_of)
        return Sorting(site_of, self.unit_of, self.sizes)

    def form(self, extent: Extent) -> Form:
        """How many of the extent's positions are left, as a linear form in the sites' counts."""
        owners = None if extent.plane is None else self.owners(extent)
        if owners is None:
            return extent.size, ()
        sites, units = owners
        terms = []
        for site in np.unique(sites[sites >= 0]).tolist():
            counts = np.bincount(units[sites == site], minlength=self.sizes[site])
            if counts.min() != counts.max():
                raise UnevenSite(site)
            terms.append((site, int(counts[0])))
        return int((sites < 0).sum()), tuple(terms)

    @cached_property
    def _code(self) -> torch.Tensor:
        """One number for each (site, unit), -1 for what stays."""
        code = self.site_of * (max(self.sizes, default=0) + 1) + self.unit_of
        return torch.from_numpy(np.where(self.site_of < 0, STAYS, code))

    def owners(self, extent: Extent) -> tuple[np.ndarray, np.ndarray] | None:
        """Site and unit along the extent's axis; None when they don't depend on this axis."""
        labels = extent.plane
        assert labels is not None
        keep = [d for d in range(labels.dim()) if labels.size(d) > 1 and labels.stride(d) != 0]
        if extent.axis not in keep:
            return None
        for d in reversed(range(labels.dim())):
            if d not in keep:
                labels = labels.select(d, 0)
        if len(keep) > 1:
            free = free_axis(self._code[labels])
            if free is None or keep[free] != extent.axis:
                return None
            labels = labels.movedim(free, 0).flatten(1)[:, 0]
        row = labels.numpy()
        return self.site_of[row], self.unit_of[row]


class UnevenSite(Exception):
    """Units of one site take different numbers of positions somewhere, so they are not interchangeable."""

    def __init__(self, site: int):
        super().__init__(site)
        self.site = site


@dataclass(frozen=True)
class _Label:
    """Arrays over labels: their slot (STAYS for label 0) and their index in it."""

    slot: np.ndarray
    index: np.ndarray
    keys: tuple[tuple[str, int], ...]


def sort_out(tape: Tape) -> tuple[Sorting, list[tuple[Slot, ...]]]:
    """All candidate sites, in the order in which the network reaches them."""
    where = _label_places(tape)
    has_maker = _makers(tape, where)
    site_of = np.full(tape.ledger.size, STAYS)
    unit_of = np.zeros(tape.ledger.size, dtype=int)
    groups = [units for units in _by_footprint(tape.ledger.classes(), where) if len(units) > 1 and has_maker(units)]
    for site, units in enumerate(groups):
        labels = np.concatenate(units)
        site_of[labels] = site
        unit_of[labels] = np.repeat(np.arange(len(units)), [len(unit) for unit in units])
    slots = [tuple(_slots(np.concatenate(units), where, unit_of, tape)) for units in groups]
    return Sorting(site_of, unit_of, tuple(len(units) for units in groups)), slots


def _label_places(tape: Tape) -> _Label:
    slot, index = np.full(tape.ledger.size, STAYS), np.zeros(tape.ledger.size, dtype=int)
    for number, labels in enumerate(tape.axes.values()):
        slot[labels.numpy()], index[labels.numpy()] = number, np.arange(len(labels))
    return _Label(slot, index, tuple(tape.axes))


def _makers(tape: Tape, where: _Label) -> Callable[[Sequence[np.ndarray]], bool]:
    """Whether a weight makes the units: what comes from buffers alone, such as coordinates, is an input."""
    makes = [tape.output_axis.get(name, axis) == axis and name not in tape.buffers for name, axis in where.keys]
    return lambda units: any(makes[slot] for slot in np.unique(where.slot[units[0]]).tolist())


def _by_footprint(classes: np.ndarray, where: _Label) -> Iterable[list[np.ndarray]]:
    """The labels of each class that may leave, gathered with those of classes that take as much from the same slots."""
    # A class is what leaves together, say one channel: row 3 of conv.weight and column 3 of fc.weight. Its footprint is
    # how many labels it has in which slots, here (1 in conv.weight axis 0, 1 in fc.weight axis 1). All 64 channels have
    # it, so they are the units of one site. Labels are sorted by class and slot once, and read off as stretches: with
    # 10^6 labels, sets of them would take minutes.
    labels = np.flatnonzero(classes != classes[0])
    labels = labels[np.lexsort((labels, where.slot[labels], classes[labels]))]
    slot, owner = where.slot[labels], classes[labels]
    new_class = np.flatnonzero(np.diff(owner, prepend=STAYS))
    pair = np.flatnonzero((np.diff(owner, prepend=STAYS) != 0) | (np.diff(slot, prepend=STAYS) != 0))
    slots, counts = slot[pair], np.diff(np.append(pair, len(labels)))
    edges = np.searchsorted(pair, np.append(new_class, len(labels)))
    groups: dict[tuple[bytes, bytes], list[np.ndarray]] = defaultdict(list)
    for place in np.argsort(labels[new_class], kind="stable").tolist():
        low, high = edges[place], edges[place + 1]
        first, last = pair[low], pair[high] if high < len(pair) else len(labels)
        groups[slots[low:high].tobytes(), counts[low:high].tobytes()].append(labels[first:last])
    return groups.values()


def _slots(labels: np.ndarray, where: _Label, unit_of: np.ndarray, tape: Tape) -> Iterator[Slot]:
    labels = np.sort(labels)
    numbers = where.slot[labels]
    for number in np.unique(numbers).tolist():
        here = labels[numbers == number]
        name, axis = where.keys[number]
        size = len(tape.axes[name, axis])
        yield Slot.of(name, axis, size, where.index[here], unit_of[here])


# ---------------------------------------------------------------------------------------------------- couplings


def couplings(model: nn.Module, tape: Tape) -> tuple[Sorting, list[Coupling]]:
    """The sites of a model with their slots, attributes and names."""
    sorting, slots = sort_out(tape)
    uneven = _uneven(sorting, tape)
    sorting = sorting.without(sorted(uneven))
    attributes = _attributes(model, tape, sorting)
    for site, attribute in _feature_counts(model, slots):
        if attribute not in attributes[site]:
            attributes[site].append(attribute)
    statistics = _inexact(tape, sorting)
    names = _names(slots, tape.output_axis)
    couplings = [
        Coupling(
            Site(names[i], sorting.sizes[i], step=_step(slots[i], names[i], sorting.sizes[i])),
            slots[i],
            tuple(attributes.get(i, ())),
            tuple(sorted(statistics.get(i, ()))),
        )
        for i in range(len(slots))
    ]
    return sorting, couplings


def _step(slots: Sequence[Slot], name: str, size: int) -> int:
    module = name.split("#")[0]
    first = next((s for s in slots if s.tensor.rpartition(".")[0] == module or s.tensor == module), slots[0])
    return max(1, sum(run.count * run.repeat for run in first.runs) // size)


def _uneven(sorting: Sorting, tape: Tape) -> set[int]:
    uneven_sites: set[int] = set()
    extents = [extent for product in tape.products for extent in product.extents]
    for extent in extents:
        while True:
            try:
                sorting.without(sorted(uneven_sites)).form(extent) if uneven_sites else sorting.form(extent)
                break
            except UnevenSite as uneven:
                uneven_sites.add(uneven.site)
    return uneven_sites


def _names(slots: Sequence[tuple[Slot, ...]], output_axis: Mapping[str, int]) -> list[str]:
    """Each site is called after the first layer that makes its channels."""
    names: list[str] = []
    for group in slots:
        makers = [layer_name(s.tensor) for s in group if output_axis.get(s.tensor) == s.axis]
        base = makers[0] if makers else group[0].tensor
        name, number = base, 2
        while name in names:
            name, number = f"{base}#{number}", number + 1
        names.append(name)
    return names


def _inexact(tape: Tape, sorting: Sorting) -> dict[int, set[Inexactness]]:
    statistics: dict[int, set[Inexactness]] = defaultdict(set)
    for labels, statistic in tape.ledger.inexact:
        for site in np.unique(sorting.site_of[labels]).tolist():
            if site >= 0:
                statistics[site].add(statistic)
    return statistics


def _attributes(model: nn.Module, tape: Tape, sorting: Sorting) -> dict[int, list[Attribute]]:
    """Integers in modules that equal a size their own code handled, and so must shrink with it."""
    modules = dict(model.named_modules())
    silent = _silent_children(modules, tape)
    sizes: dict[str, dict[int, set[Form]]] = defaultdict(lambda: defaultdict(set))
    for named in tape.named_sizes.values():
        for axis in range(named.plane.dim()):
            extent = Extent(named.plane.size(axis), named.plane, axis)
            if named.plane.size(axis) > 1 and named.plane.stride(axis) != 0:
                form = _form_or_fixed(sorting, extent)
                for module in (named.module, *silent[named.module]):
                    sizes[module][extent.size].add(form)
    attributes: dict[int, list[Attribute]] = defaultdict(list)
    for module, forms in sizes.items():
        for name, position, value in integers(modules[module]):
            if any(word in name for word in (*PLACES, *NUMBERS)):
                continue
            for site, per_unit in _chosen(forms.get(value, set()), name):
                attributes[site].append(Attribute(module, name, position, per_unit))
    for split in tape.named_splits:
        whole = [_form_or_fixed(sorting, piece) for piece in split.pieces]
        for name, position, part in _tuples_equal(modules[split.module], [p.size for p in split.pieces], whole):
            for site, per_unit in part:
                attribute = Attribute(split.module, name, position, per_unit)
                if not any(
                    a.module == split.module and (a.name, a.position) == (name, position) for a in attributes[site]
                ):
                    attributes[site].append(attribute)
    return attributes


def _silent_children(modules: Mapping[str, nn.Module], tape: Tape) -> Mapping[str, list[str]]:
    """module -> its children that were never called: what their methods did counts as the module's own code."""
    children: dict[str, list[str]] = defaultdict(list)
    for name in modules:
        if name and name not in tape.called:
            children[name.rpartition(".")[0]].append(name)
    return children


def _feature_counts(model: nn.Module, slots: Sequence[tuple[Slot, ...]]) -> Iterator[tuple[int, Attribute]]:
    """What timm's models say of the inputs of their head, so that `reset_classifier` goes on working."""
    names = {module: name for name, module in model.named_modules()}
    timm: Any = model
    heads = [timm.get_classifier()] if hasattr(model, "get_classifier") else []
    heads += [head] if isinstance(head := getattr(model, "conv_head", None), nn.Conv2d) else []
    for head in (h for h in heads if isinstance(h, nn.Linear | nn.Conv2d)):
        width, owner = head.weight.shape[1], names[head].rpartition(".")[0]
        counts = {
            (place, attribute)
            for place in ("", owner)
            for attribute in ("num_features", "head_hidden_size", "in_features")
            if vars(model.get_submodule(place)).get(attribute) == width
        }
        for site, group in enumerate(slots):
            for slot in (s for s in group if s.tensor == f"{names[head]}.weight" and s.axis == 1):
                per_unit = len(slot.owners()[0]) // len(np.unique(slot.owners()[1]))
                yield from ((site, Attribute(place, attribute, None, per_unit)) for place, attribute in sorted(counts))


def _form_or_fixed(sorting: Sorting, extent: Extent) -> Form:
    try:
        return sorting.form(extent)
    except UnevenSite:
        return extent.size, ()


def integers(module: nn.Module) -> Iterator[tuple[str, int | None, int]]:
    """Every integer attribute of a module (also inside tuples and lists): name, position, value."""
    for name, value in vars(module).items():
        if name.startswith("_") or name == "training":
            continue
        if isinstance(value, int) and not isinstance(value, bool):
            yield name, None, value
        elif isinstance(value, list | tuple):
            for position, item in enumerate(value):
                if isinstance(item, int) and not isinstance(item, bool):
                    yield name, position, item


def _chosen(forms: set[Form], name: str) -> tuple[tuple[int, int], ...]:
    """The one way in which a value shrinks; nothing when it is ambiguous, unless its name says that it counts heads."""
    shrinking = {form[1] for form in forms if form[1]}
    fixed = any(not form[1] for form in forms)
    if len(shrinking) == 1 and (not fixed or ("head" in name and "dim" not in name)):
        return shrinking.pop()
    return ()


def _tuples_equal(
    module: nn.Module, sizes: list[int], forms: list[Form]
) -> Iterator[tuple[str, int, tuple[tuple[int, int], ...]]]:
    for name, value in vars(module).items():
        if isinstance(value, list | tuple) and list(value) == sizes:
            yield from ((name, position, form[1]) for position, form in enumerate(forms) if form[1])
