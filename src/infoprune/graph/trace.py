"""`Graph.trace`: one forward pass in, every place where the model can shrink out, with exact prices."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any, Literal

import numpy as np
from torch import Tensor, nn
from torch_pruning.dependency import Group

from infoprune.allocation import Posynomial
from infoprune.deprecated import renamed_keyword
from infoprune.errors import UnknownName, Untraceable, first_line
from infoprune.graph.arguments import Arguments
from infoprune.graph.copies import Reads, stand_in
from infoprune.graph.host import group_of, members_of_site
from infoprune.graph.member import Member
from infoprune.graph.other_ways import other_ways
from infoprune.graph.passes import Pass
from infoprune.graph.recomputed import weight_of
from infoprune.graph.rules.multihead import suspects
from infoprune.graph.sites import Form, Sorting, couplings
from infoprune.graph.slicing import attributes_in_use
from infoprune.graph.slots import Coupling, Place, Site
from infoprune.graph.tape import Extent, Tape, follow
from infoprune.graph.unread import left_for
from infoprune.graph.verify import Trials
from infoprune.graph.wrappers import followable, has_no_values, require_all_or_none
from infoprune.registry import nearest
from infoprune.require import require_seen

Resource = Literal["macs", "params"]
Ignored = Iterable["str | nn.Module | nn.Parameter"]


@dataclass(frozen=True)
class Graph:
    """A model's sites, what each takes along, and what every choice of counts costs.

    `sites` were verified: half of each was removed from a copy, all at once, and the copy computed what the masked
    original computes; `by_shapes`: it ran and gave the same shapes. `quarantined` says why the others are left alone.
    """

    model: nn.Module
    couplings: Mapping[str, Coupling]
    quarantined: Mapping[str, str]
    _tape: Tape = field(repr=False)
    _sorting: Sorting = field(repr=False)
    _numbers: Mapping[str, int] = field(repr=False)
    inputs: Arguments = field(default=Arguments(), repr=False)
    streams: frozenset[str] = field(default=frozenset(), repr=False)
    by_shapes: bool = False
    _left_alone: tuple[Coupling, ...] = field(default=(), repr=False)

    @classmethod
    def trace(
        cls,
        model: nn.Module,
        example_inputs: Any,
        *,
        ignored_layers: Ignored = (),
        num_heads: Mapping[nn.Module, int] | None = None,
        head_dims: Ignored = (),
        also: Sequence[Any] = (),
        verify: bool = True,
        shapes_alone: bool = False,
        streams: frozenset[str] | None = None,
    ) -> Graph:
        """Follow `model` on `example_inputs` and find its sites.

        Args:
            model: The network.
            example_inputs: What its forward takes. A tuple or list holds positional arguments, a dict named ones;
                anything else is the only argument. A list or dict that is itself an argument is passed inside a tuple.
            ignored_layers: Modules, parameters, their names or globs that keep all their outputs.
            num_heads: Heads of layers, as in torch-pruning; ties the channels of heads that are not found by
                themselves.
            head_dims: Modules in which heads stay and all lose the same dimensions; elsewhere heads leave whole.
            also: Other example inputs, for code that the first do not reach; prices are those of the first.
            verify: Try the removal of each site and leave alone what the model's own code does not let shrink.
            shapes_alone: Run copies on the meta device, which takes no memory and no time. Sites are then checked by
                shapes and not by what is computed. Models on that device are followed so, whatever it says.
            streams: Modules in which heads and the stream that they read lose width at one ratio; by default those
                whose code wants it.
        """
        require_seen()
        model, ignored = followable(model), tuple(ignored_layers)
        terms: dict[str, Any] = {"ignored_layers": ignored, "num_heads": num_heads, "head_dims": tuple(head_dims)}
        terms |= {"passes": [Pass(Arguments.of(shown)) for shown in (example_inputs, *also)], "verify": verify}
        terms["shapes_alone"] = shapes_alone or has_no_values(model)
        if not shapes_alone:
            require_all_or_none(model)
        graphs = [cls._followed(model, streams or frozenset(), **terms)]
        while streams is None and verify:
            tied = graphs[-1].streams | suspects(model, graphs[-1]._left_alone)
            if tied == graphs[-1].streams:
                break
            graphs.append(cls._followed(model, tied, **terms))
        return min(graphs, key=lambda graph: graph.cost("params")([1] * len(graph.sites)))

    @classmethod
    def _followed(
        cls, model: nn.Module, streams: frozenset[str], *, passes: Sequence[Pass], ignored_layers: Ignored,
        num_heads: Mapping[nn.Module, int] | None, head_dims: Ignored, verify: bool, shapes_alone: bool,
    ) -> Graph:  # fmt: skip
        ignored, inputs = _ignored_parameters(model, ignored_layers), passes[0].inputs
        copied = _copied(model, shapes_alone)
        if shapes_alone:
            passes = [replace(shown, inputs=shown.inputs.map(without_values)) for shown in passes]
        tape = Tape.of(copied, frozenset(_module_names(model, head_dims)), streams)
        passes = _recorded(tape, model, copied, passes, look_further=verify)
        tape.settle(model)
        _freeze_ignored(tape, ignored)
        _tie_heads(model, tape, num_heads or {})
        sorting, coupled = couplings(model, tape)
        coupled = [replace(c, attributes=attributes_in_use(c.attributes, model)) for c in coupled]
        tried = copied if shapes_alone else model
        quarantined = _quarantined(tried, tape, sorting, coupled, passes) if verify and coupled else {}
        numbers = {c.site.name: i for i, c in enumerate(coupled)}
        kept = {c.site.name: c for c in coupled if c.site.name not in quarantined}
        sorting = sorting.without([numbers[name] for name in quarantined])
        left = tuple(c for c in coupled if c.site.name in quarantined)
        return cls(model, kept, quarantined, tape, sorting, numbers, inputs, streams, shapes_alone, left)

    def keeping(self, names: Iterable[str]) -> Graph:
        """The same graph with these sites alone, in this order; the others stay whole."""
        wanted = [name for name in names if name in self.couplings]
        out = [self._numbers[name] for name in self.couplings if name not in wanted]
        couplings = {name: self.couplings[name] for name in wanted}
        return replace(self, couplings=couplings, _sorting=self._sorting.without(out))

    @property
    def sites(self) -> tuple[Site, ...]:
        return tuple(coupling.site for coupling in self.couplings.values())

    def site(self, name: str) -> Site:
        if name not in self.couplings:
            raise UnknownName(f"the model has no site {name!r}; {nearest(name, list(self.couplings))}")
        return self.couplings[name].site

    def members(self, site: str) -> list[Member]:
        """Every layer's part in the site, `root` counting units."""
        return members_of_site(self._modules, self.couplings[self.site(site).name], self._tape.use)

    @property
    def call(self) -> tuple[nn.Module, Arguments]:
        """What to run to follow the model once more, and on what: without values where shapes were enough."""
        if not self.by_shapes:
            return self.model, self.inputs
        return _copied(self.model, True), self.inputs.map(without_values)

    @cached_property
    def places(self) -> dict[Place, str]:
        """Which site begins where: how it is known again in a network whose blocks left, where its name may differ."""
        return {place: name for name, coupling in self.couplings.items() for place in coupling.places()}

    def group(self, site: str) -> tuple[Group, Tensor]:
        """The site as a torch-pruning group, and the unit that each channel of its root belongs to."""
        return group_of(self._modules, self.couplings[self.site(site).name], self._tape.use)

    @renamed_keyword("unit", "resource")
    def cost(self, resource: Resource) -> Posynomial:
        """The price of keeping `counts[g]` units at `sites[g]`, exact for every choice.

        "macs": multiply-adds of convolutions, linear layers, matrix products and attention for the example inputs;
        biases, norms, activations, pooling and resampling are free. "params": elements of all parameters.
        """
        if resource == "macs":
            return self.price([(p.constant, p.extents) for p in self._tape.products])
        if resource == "params":
            return self.price([(1, self.extents(n, p)) for n, p in self.model.named_parameters()])
        raise ValueError(f"cost is {resource!r}; use 'macs' or 'params'")

    @property
    def counted(self) -> int:
        """Multiply-adds that the trace counted, operation by operation: what `cost` must say of the whole model."""
        return sum(p.constant * math.prod(e.size for e in p.extents) for p in self._tape.products)

    def why_fixed(self) -> str:
        """The commonest reasons for which channels can't leave, for messages."""
        reasons = Counter(self.quarantined.values()) or Counter(reason for _, reason in self._tape.ledger.frozen)
        return "; ".join(f"{reason} ({count}x)" for reason, count in reasons.most_common(3)) or "none was found"

    @cached_property
    def _modules(self) -> Mapping[str, nn.Module]:
        return dict(self.model.named_modules())

    def extents(self, name: str, parameter: Tensor) -> tuple[Extent, ...]:
        """The axes of a named parameter, each as long as its sites' counts make it."""
        axes = [(n, self._tape.axes.get((name, axis))) for axis, n in enumerate(parameter.shape)]
        return tuple(Extent(n, labels) for n, labels in axes)

    def owners(self, extent: Extent) -> tuple[tuple[str, int] | None, ...] | None:
        """(site, unit) of every position along the extent, None where it stays; None if it depends on no site."""
        owners = self._sorting.owners(extent)
        if owners is None:
            return None
        names = {number: name for name, number in self._numbers.items() if name in self.couplings}
        rows = zip(*(row.tolist() for row in owners), strict=True)
        return tuple((names[site], unit) if site in names else None for site, unit in rows)

    def price(self, products: Sequence[tuple[float, Sequence[Extent]]]) -> Posynomial:
        """A sum of constants (not negative) times extents, as a function of the sites' counts."""
        columns = {self._numbers[name]: column for column, name in enumerate(self.couplings)}
        terms: Counter[tuple[int, ...]] = Counter()
        for constant, extents in products:
            for sites, coefficient in _expand(constant, [self._sorting.form(e) for e in extents]).items():
                terms[tuple(sorted(columns[s] for s in sites))] += coefficient
        exponents = np.zeros((len(terms), len(columns)), dtype=int)
        for row, sites in enumerate(terms):
            np.add.at(exponents[row], list(sites), 1)
        return Posynomial(np.array(list(terms.values()), dtype=float), exponents)


def _expand(constant: float, forms: Sequence[Form]) -> Counter[tuple[int, ...]]:
    """The product of linear forms as site numbers -> coefficient."""
    terms: Counter[tuple[int, ...]] = Counter({(): constant})
    for fixed, parts in forms:
        grown: Counter[tuple[int, ...]] = Counter()
        for sites, coefficient in terms.items():
            if fixed:
                grown[sites] += coefficient * fixed
            for site, per_unit in parts:
                grown[tuple(sorted((*sites, site)))] += coefficient * per_unit
        terms = grown
    return terms


def _module_names(model: nn.Module, wanted: Ignored) -> Iterator[str]:
    names = {module: name for name, module in model.named_modules()}
    for module in wanted:
        name = module if isinstance(module, str) else names.get(module)
        if name is None or name not in names.values():
            shown = module if isinstance(module, str) else type(module).__name__
            hint = nearest(str(shown), [n for n in names.values() if n])
            raise UnknownName(f"head_dims names {shown!r}, which is no module of the model; {hint}")
        yield name


def _recorded(
    tape: Tape, model: nn.Module, copied: nn.Module, passes: Sequence[Pass], *, look_further: bool
) -> list[Pass]:
    """All passes on the tape, the first priced, and what the model does in training or on other numbers."""
    follows = list(passes)
    with Reads(model) as reads:
        _follow(tape, copied, passes[0])
        priced = len(tape.products)
        for shown in passes[1:]:
            _follow(tape, copied, shown)
        ways = other_ways(copied, passes[0]) if look_further else []
        follows += [way for way in ways if _can_follow(tape, copied, way)]
    reads.require_none()
    del tape.products[priced:]
    return follows


def _follow(tape: Tape, copied: nn.Module, shown: Pass) -> None:
    """What a copy of the model teaches."""
    with shown.inputs.blamed(), _values_wanted(), shown.ready(copied):
        follow(tape, copied, shown.inputs)


@contextmanager
def _values_wanted() -> Iterator[None]:
    """Untraceable where code asks for a number and there are shapes alone."""
    try:
        yield
    except (NotImplementedError, RuntimeError) as error:
        if "meta tensor" not in str(error):
            raise
        raise Untraceable(
            "what the model's code does depends on values, and on the meta device there are none; load its weights"
        ) from error


def without_values(tensor: Tensor) -> Tensor:
    """Indices stay what they are: code that looks things up by them is followed by their values."""
    return tensor.to("meta") if tensor.is_floating_point() else tensor


def _copied(model: nn.Module, shapes_alone: bool = False) -> nn.Module:
    try:
        copied = stand_in(model)
        return copied._apply(without_values) if shapes_alone else copied
    except Exception as error:  # whatever copying says of an attribute: a lock, a stream, an open file
        raise Untraceable(
            f"the model can't be copied ({type(error).__name__}: {first_line(error)}), so that no removal could be "
            "tried; take what can't be copied out of its attributes"
        ) from error


def _can_follow(tape: Tape, model: nn.Module, shown: Pass) -> bool:
    try:
        _follow(tape, model, shown)
    except Untraceable:  # it takes other arguments in training
        return False
    return True


def _quarantined(
    model: nn.Module, tape: Tape, sorting: Sorting, couplings: Sequence[Coupling], passes: Sequence[Pass]
) -> dict[str, str]:
    """Sites that stay because of what no pass has read, and those whose removal was tried and failed."""
    stay = left_for(model, tape, sorting, couplings)
    free = [coupling for coupling in couplings if coupling.site.name not in stay]
    return {**stay, **(Trials(model, passes).quarantine(free) if free else {})}


def _ignored_parameters(model: nn.Module, ignored: Ignored) -> set[str]:
    """Names of all parameters and buffers that the ignored layers hold."""
    modules, names = dict(model.named_modules()), {id(p): n for n, p in model.named_parameters()}
    known = {id(m): n for n, m in modules.items()}
    ignored_tensors: set[str] = set()
    there = [*modules, *names.values()]
    for layer in ignored:
        name = layer if isinstance(layer, str) else known.get(id(layer), names.get(id(layer)))
        meant = [] if name is None else [name] if name in there else [n for n in there if n and fnmatchcase(n, name)]
        if not meant:
            shown = layer if isinstance(layer, str) else type(layer).__name__
            hint = nearest(str(shown), [n for n in modules if n])
            raise UnknownName(f"ignored_layers names {shown!r}, which is not in the model; {hint}")
        tensors = [*names.values(), *dict(model.named_buffers())]
        ignored_tensors.update(n for n in tensors if any(n == m or n.startswith(f"{m}.") for m in meant))
    return ignored_tensors


def _freeze_ignored(tape: Tape, ignored: set[str]) -> None:
    for (name, axis), labels in tape.axes.items():
        if name in ignored and axis == tape.output_axis.get(name, axis):
            tape.ledger.freeze(labels, "its layer is ignored")


def _tie_heads(model: nn.Module, tape: Tape, num_heads: Mapping[nn.Module, int]) -> None:
    """Channels of one head leave together: rows of q, k and v alike where a layer makes all three."""
    names = {module: name for name, module in model.named_modules()}
    for module, heads in num_heads.items():
        if module not in names or (names[module] + ".weight", 0) not in tape.axes:
            raise UnknownName("num_heads names a layer that is not in the model or was not used; pass its own layers")
        labels = tape.axes[names[module] + ".weight", 0]
        fused = 3 if len(labels) == 3 * weight_of(module).shape[1] else 1
        if len(labels) % (fused * heads):
            raise ValueError(f"{names[module]} has {len(labels)} outputs, which {heads} heads do not divide")
        tape.ledger.collapse(labels.view(fused, heads, -1), [2])
