"""Whole blocks: which of them can leave, which of them should, and what that costs and saves."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from infoprune.budgets import Budget
from infoprune.errors import Infeasible, StaleObservations, Untraceable, UnusableData
from infoprune.estimators.energy import FeatureSample, distances
from infoprune.estimators.hsic import pairwise_hsic
from infoprune.estimators.kmeans import kmeans_1d
from infoprune.families import dense_units, record, residual_units
from infoprune.graph import Graph
from infoprune.graph.counting import count_macs
from infoprune.graph.slicing import blank
from infoprune.graph.slots import Site
from infoprune.graph.trace import as_arguments
from infoprune.graph.verify import Trials, compare, evaluating, structural_copy
from infoprune.layerwise import uniform
from infoprune.observe import nhsic_of
from infoprune.planning import Planned, ScoreGroup, planned
from infoprune.surgery.blocks import DropBlock
from infoprune.surgery.plan import Plan, Price, carry_out, removal_of

Strategy = Literal["clusters", "largest", "random", "greedy"]
Energy = float | tuple[float, float]  # with its standard error, where it is known
CORRELATED = 512  # samples between which distance correlations are taken: memory is units x 512 x 512

# ------------------------------------------------------------------------------------------- what can leave


def skip_units(model: nn.Module, example_inputs: Any) -> tuple[Site, ...]:
    """The residual branches, and the concatenated layers, that can leave the network one by one or together.

    Units run in this order. Each was found where its sum or concatenation happens, and removed from a copy,
    which then computed what the original computes with the unit's branch multiplied by zero. A module with
    one branch is named as a whole (`layer1.0`); one with several has a unit a branch (`blocks.0.attn`,
    `blocks.0.mlp`), and leaves as a whole once all of them are gone.
    """
    return tuple(edit.site for edit in removals(model, example_inputs))


def removals(model: nn.Module, example_inputs: Any) -> tuple[DropBlock, ...]:
    """The edits that remove each of `skip_units`."""
    inputs = as_arguments(example_inputs)
    flow = record(model, inputs)
    units = [*residual_units(model, flow), *dense_units(model, inputs, flow)]
    edits = [DropBlock.of(unit, model) for unit in units]
    return tuple(_verified(model, inputs, edits)) if edits else ()


def _verified(model: nn.Module, inputs: tuple, edits: Sequence[DropBlock]) -> list[DropBlock]:
    """Those that leave as promised: tried together, then one branch of each module; by halves on failure."""
    restless = Trials(model, inputs).model
    branches = max(len(edit.unit.siblings) for edit in edits)
    good = list(edits)
    for part in (None, *range(branches)):
        good = _without_failing(restless, inputs, good, part)
    return good


def _without_failing(model: nn.Module, inputs: tuple, edits: list[DropBlock], part: int | None) -> list[DropBlock]:
    """`part` picks the units to try: all of them, or those that are branch number `part` of their module."""
    tried = [e for e in edits if part is None or e.unit.branch_end in e.unit.siblings[part : part + 1]]
    bad = _failing(model, inputs, tried)
    return [edit for edit in edits if edit.unit.name not in bad]


def _failing(model: nn.Module, inputs: tuple, edits: Sequence[DropBlock]) -> set[str]:
    if not edits or _holds(model, inputs, edits):
        return set()
    if len(edits) == 1:
        return {edits[0].unit.name}
    middle = len(edits) // 2
    found = _failing(model, inputs, edits[:middle]) | _failing(model, inputs, edits[middle:])
    return found or {edit.unit.name for edit in edits}


def _holds(model: nn.Module, inputs: tuple, edits: Sequence[DropBlock], *, tolerance: float = 1e-3) -> bool:
    """The copy without the units computes what the copy with zeroed branches computes."""
    pruned, masked = structural_copy(model), structural_copy(model)
    removal = removal_of(edits)
    blank(masked, removal)
    statistics = [statistic for edit in edits for statistic in edit.inexact]
    try:
        carry_out(pruned, edits)
        for edit in edits:
            edit.mask(masked)
        return compare(pruned, masked, removal, inputs, statistics).relative <= tolerance
    except Exception:  # whatever the model's own code raises is the answer
        return False


# -------------------------------------------------------------------------------------------- what it knows


@dataclass(frozen=True)
class UnitEnergies(Mapping[str, tuple[float, float]]):
    """unit -> the energy dependence of its branch T_l on the labels, and the standard error of that.

    `correlations`: unbiased squared distance correlations in [0, 1] between the units, the labels in the last
    row and column; what the "greedy" strategy weighs. None unless asked for.
    """

    energies: Mapping[str, tuple[float, float]]
    samples: int
    correlations: np.ndarray | None = None

    def __getitem__(self, unit: str) -> tuple[float, float]:
        return self.energies[unit]

    def __iter__(self) -> Iterator[str]:
        return iter(self.energies)

    def __len__(self) -> int:
        return len(self.energies)


def unit_energies(
    model: nn.Module,
    loader: Iterable[tuple[Tensor, Tensor]],
    example_inputs: Any,
    *,
    samples: int = 2048,
    width: int = 512,
    correlations: bool = False,
    seed: int = 0,
) -> UnitEnergies:
    """The energy dependence D(T_l, Y) of every skip unit's branch on integer labels, in one pass.

    `loader` gives (inputs, labels). A uniform sample of at most `samples` feature maps a unit is kept,
    flattened and, above `width` numbers, sketched to `width`, which keeps every distance to a relative
    standard error of 1 / sqrt(2 width): memory is units x samples x width numbers, however long the pass. The
    model runs in evaluation mode without gradients; modes, statistics, hooks and random states are afterwards
    what they were.
    """
    edits = _removals_or_error(model, example_inputs)
    seen = {edit.unit.name: FeatureSample.empty(samples) for edit in edits}
    place = next((p.device for p in model.parameters()), torch.device("cpu"))
    generators = {name: torch.Generator().manual_seed(seed) for name in seen}  # one seed: the same samples stay
    with _undisturbed(model), _branches(model, edits, width) as features:
        for inputs, labels in loader:
            features.clear()
            model(*(t.to(place) for t in as_arguments(inputs)))
            for name, value in features.items():
                seen[name] = seen[name].update(value, labels.to(place), generators[name])
    return _energies(seen, correlations)


def _energies(seen: Mapping[str, FeatureSample], correlations: bool) -> UnitEnergies:
    first = next(iter(seen.values()))
    classes = first.labels.unique()
    if len(classes) < 2:
        found = "no batch was given" if not len(first.keys) else f"all {len(first.labels)} labels are {int(classes[0])}"
        raise UnusableData(f"{found}; energy dependence needs samples of at least two classes")
    estimates = {name: sample.compute() for name, sample in seen.items()}
    energies = {name: (float(e.value), float(e.standard_error)) for name, e in estimates.items()}
    return UnitEnergies(energies, int(first.seen), _correlations(seen, first.labels) if correlations else None)


def _correlations(seen: Mapping[str, FeatureSample], labels: Tensor) -> np.ndarray:
    """Unbiased squared distance correlations (Székely & Rizzo 2014): nHSIC with the kernel -|x - y|."""
    apart = (labels[:CORRELATED, None] != labels[None, :CORRELATED]).double()
    between = [distances(s.features[:CORRELATED].double(), s.features[:CORRELATED].double()) for s in seen.values()]
    grams = -torch.stack([*between, apart.to(between[0])])
    found = nhsic_of(pairwise_hsic(grams, unbiased=True))  # a branch that is constant depends on nothing
    return found.nan_to_num(0).clamp(0, 1).cpu().numpy()


def _flat(value: Tensor, name: str, width: int) -> Tensor:
    """The maps as rows of at most `width` numbers, in memory of their own."""
    rows = value.detach().flatten(1).float()
    rows = rows.clone() if rows.shape[1] <= width else _folded(rows, width)
    if not bool(rows.isfinite().all()):
        raise UnusableData(f"the branch of {name} gives NaN or infinite values; check the inputs and the weights")
    return rows


def _folded(rows: Tensor, width: int) -> Tensor:
    """Random signs, then sums of every width-th number: inner products are kept on average, in one pass."""
    signs = torch.randint(2, rows.shape[1:], generator=torch.Generator().manual_seed(0)).to(rows) * 2 - 1
    whole = rows.shape[1] // width * width
    folded = torch.einsum("nfw,fw->nw", rows[:, :whole].unflatten(1, (-1, width)), signs[:whole].view(-1, width))
    folded[:, : rows.shape[1] - whole] += rows[:, whole:] * signs[whole:]
    return folded


@contextmanager
def _branches(model: nn.Module, edits: Sequence[DropBlock], width: int) -> Iterator[dict[str, Tensor]]:
    """unit -> what its branch gave in the last pass, before the sum overwrites it."""
    features: dict[str, Tensor] = {}

    def keep(unit: str) -> Callable[..., None]:
        def hook(_: nn.Module, __: Any, out: Any) -> None:
            features[unit] = _flat(out[0] if isinstance(out, tuple) else out, unit, width)

        return hook

    modules = dict(model.named_modules())
    handles = [modules[e.unit.branch_end].register_forward_hook(keep(e.unit.name)) for e in edits]
    try:
        yield features
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _undisturbed(model: nn.Module) -> Iterator[None]:
    """Evaluation without gradients; modes and random states are restored."""
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()
    try:
        with torch.no_grad(), evaluating(model):
            yield
    finally:
        torch.set_rng_state(states[0])
        random.setstate(states[1])
        np.random.set_state(states[2])


# ----------------------------------------------------------------------------------------- what should stay


def plan_depth(
    model: nn.Module,
    example_inputs: Any,
    seen: Mapping[str, Energy],
    *,
    clusters: int | None = None,
    keep_units: int | None = None,
    budgets: Budget | Sequence[Budget] = (),
    strategy: Strategy = "clusters",
    seed: int = 0,
) -> Plan:
    """Decide which skip units stay, by how much their branches depend on the labels; the others leave whole.

    `seen` maps units to energies, or to (energy, standard error): see `unit_energies`. Give one of `clusters`
    (K, of each of which one unit stays), `keep_units`, which means the same number, or `budgets`, for the
    largest number of units that meets them all. Strategies:

    - "clusters": Algorithm 1. Optimal k-means on the energies; in each cluster the unit with the largest
      stays.
    - "largest": the units with the largest energies stay.
    - "random": units drawn with `seed` stay.
    - "greedy": relevance to the labels less redundancy among the units, summed as in section 3.3 and
      maximised one unit at a time; both are distance correlations, from `unit_energies(...,
      correlations=True)`.

    Nothing is changed in the model.
    """
    inputs, wanted = as_arguments(example_inputs), [budgets] if isinstance(budgets, Budget) else list(budgets)
    edits = _removals_or_error(model, example_inputs)
    count = _checked_count(clusters, keep_units, wanted, len(edits))
    choose = _chooser(strategy, [edit.unit.name for edit in edits], seen, seed)
    stay = choose(count) if count is not None else _within(model, inputs, edits, choose, wanted, strategy)
    gone = tuple(edit for edit in edits if edit.unit.name not in stay)
    notes = {
        "infoprune": version("infoprune"),
        "torch": torch.__version__,
        "strategy": strategy,
        "units": len(edits),
        "stay": [edit.unit.name for edit in edits if edit.unit.name in stay],
        "budgets": [f"{b.unit} {'keep' if b.keep else 'at_most'}={b.keep or b.at_most}" for b in wanted],
        **({"seed": seed} if strategy == "random" else {}),
    }
    return Plan(gone, notes, _prices(model, inputs, gone), _shapes(inputs))


def stages(
    model: nn.Module,
    example_inputs: Any,
    see: Callable[[nn.Module], Mapping[str, Energy]],
    *,
    clusters: Sequence[int],
    strategy: Strategy = "clusters",
    seed: int = 0,
) -> Iterator[Plan]:
    """Algorithm 1, plan after plan: apply each with `prune_` and train before asking for the next.

    `see` gives the energies of the model as it is then; `clusters` holds K^t, falling. A K^t that the model
    has reached already is passed over, so the same call goes on with a model that was saved between two
    stages.

    >>> for plan in stages(model, x, lambda model: unit_energies(model, loader, x), clusters=[20, 15, 10]):
    ...     prune_(model, x, plan)  # then train
    """
    if any(later >= earlier for earlier, later in pairwise(clusters)):
        raise ValueError(f"clusters is {list(clusters)}; every stage must keep fewer units than the one before")
    for count in clusters:
        now = len(_removals_or_error(model, example_inputs))
        if count < now:
            yield plan_depth(model, example_inputs, see(model), clusters=count, strategy=strategy, seed=seed)
            left = len(removals(model, example_inputs))
            if left != count:
                raise StaleObservations(
                    f"the stage keeps {count} units and the model has {left}; apply each plan by prune_()"
                )


def _removals_or_error(model: nn.Module, example_inputs: Any) -> tuple[DropBlock, ...]:
    edits = removals(model, example_inputs)
    if not edits:
        raise Untraceable(f"{type(model).__name__} has no skip unit that could leave; prune its channels instead")
    return edits


def _checked_count(clusters: int | None, keep_units: int | None, budgets: list[Budget], units: int) -> int | None:
    given = {"clusters": clusters, "keep_units": keep_units, "budgets": budgets or None}
    named = {name: value for name, value in given.items() if value is not None}
    if len(named) != 1:
        raise ValueError(f"give one of clusters=, keep_units= and budgets=, not {' and '.join(named) or 'none'}")
    odd = next((b for b in budgets if not isinstance(b, Budget)), None)
    if odd is not None:
        raise TypeError(f"budgets holds {odd!r}; make budgets with infoprune.budgets.macs(keep=0.5) and the like")
    if budgets:
        return None
    ((name, count),) = named.items()
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= units:
        raise ValueError(f"{name} is {count!r}; the model has {units} skip units, so give a number from 1 to {units}")
    return count


def _chooser(strategy: Strategy, units: list[str], seen: Mapping[str, Energy], seed: int) -> Callable[[int], set[str]]:
    """How many stay -> which."""
    if strategy == "random":
        order = torch.randperm(len(units), generator=torch.Generator().manual_seed(seed)).tolist()
        return lambda count: {units[i] for i in order[:count]}
    if strategy == "greedy":
        order = _by_relevance_less_redundancy(_matrix_of(seen, units))
        return lambda count: {units[i] for i in order[:count]}
    values = _values_of(seen, units)
    if strategy == "largest":
        order = values.argsort(descending=True, stable=True).tolist()
        return lambda count: {units[i] for i in order[:count]}
    if strategy == "clusters":
        return lambda count: {units[i] for i in _heads(values, count)}
    raise ValueError(f"strategy is {strategy!r}; use 'clusters', 'largest', 'random' or 'greedy'")


def _heads(values: Tensor, count: int) -> list[int]:
    """The index of the largest value in each of the `count` clusters; of equal ones the first."""
    labels, _ = kmeans_1d(values, count)
    return [int(values.where(labels == k, -torch.inf).argmax()) for k in range(count)]


def _by_relevance_less_redundancy(correlations: np.ndarray) -> list[int]:
    """Greedy order for mean_S D(T, Y) - mean_{S x S} D(T, T'): each next unit makes the best set so far."""
    relevance, between = correlations[:-1, -1], correlations[:-1, :-1]
    order: list[int] = []
    while len(order) < len(relevance):
        rest = [i for i in range(len(relevance)) if i not in order]
        worth = [relevance[s].mean() - between[np.ix_(s, s)].mean() for s in ([*order, i] for i in rest)]
        order.append(rest[int(np.argmax(worth))])
    return order


def _values_of(seen: Mapping[str, Energy], units: Sequence[str]) -> Tensor:
    _require_same(seen, units)
    values = torch.tensor([float(e[0] if isinstance(e := seen[u], tuple) else e) for u in units], dtype=torch.float64)
    if not bool(values.isfinite().all()):
        odd = [u for u, v in zip(units, values.tolist(), strict=True) if v != v or abs(v) == float("inf")]
        raise UnusableData(
            f"the energy of {odd[0]} is not a finite number; check its activations and see the model again"
        )
    return values


def _matrix_of(seen: Mapping[str, Energy], units: Sequence[str]) -> np.ndarray:
    if not isinstance(seen, UnitEnergies) or seen.correlations is None:
        raise ValueError("the greedy strategy needs correlations; pass unit_energies(..., correlations=True)")
    _require_same(seen, units)
    rows = [list(seen).index(u) for u in units]
    return seen.correlations[np.ix_([*rows, len(seen)], [*rows, len(seen)])]


def _require_same(seen: Mapping[str, Energy], units: Sequence[str]) -> None:
    missing, odd = [u for u in units if u not in seen], [u for u in seen if u not in set(units)]
    if missing or odd:
        what = f"the energies lack {missing[:3]}" if missing else f"the model has no units {odd[:3]}"
        raise StaleObservations(f"{what}; take unit_energies() of the model as it is now")


# -------------------------------------------------------------------------------------------- what it costs


def _within(
    model: nn.Module, inputs: tuple, edits: Sequence[DropBlock], choose: Callable[[int], set[str]],
    budgets: Sequence[Budget], strategy: str,
) -> set[str]:  # fmt: skip
    """The most units that meet every budget."""
    limits = [budget.limit(_price(budget, model, inputs)) for budget in budgets]
    costs: list[float] = []
    for count in range(len(edits), 0, -1):
        stay = choose(count)
        reduced = _reduced(model, [edit for edit in edits if edit.unit.name not in stay])
        costs = [_price(budget, reduced, inputs) for budget in budgets]
        if all(cost <= limit for cost, limit in zip(costs, limits, strict=True)):
            return stay
    least = ", ".join(
        f"{cost:,.0f} {b.unit} of {limit:,.0f} allowed" for b, cost, limit in zip(budgets, costs, limits, strict=True)
    )
    raise Infeasible(f"with one unit left ({strategy}) the model costs {least}; raise the budget or prune channels too")


def _reduced(model: nn.Module, edits: Sequence[DropBlock]) -> nn.Module:
    """A copy without these units, sharing the tensors of the rest."""
    reduced = structural_copy(model)
    carry_out(reduced, edits)
    return reduced


def _price(budget: Budget, model: nn.Module, inputs: tuple) -> float:
    """What a whole model costs: counted, or for other units as the budget prices its graph."""
    if budget.unit == "macs":
        return float(count_macs(model, inputs))
    if budget.unit == "params":
        return float(_params(model))
    graph = Graph.trace(model, inputs, verify=False)
    return float(budget.cost(graph)(np.array([site.size for site in graph.sites])))


def _params(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def _prices(model: nn.Module, inputs: tuple, edits: Sequence[DropBlock]) -> dict[str, Price]:
    reduced = _reduced(model, edits)
    return {
        "macs": Price(count_macs(model, inputs), count_macs(reduced, inputs)),
        "params": Price(_params(model), _params(reduced)),
    }


def _shapes(inputs: tuple) -> tuple[tuple[tuple[int, ...], str], ...]:
    return tuple((tuple(x.shape), str(x.dtype).removeprefix("torch.")) for x in inputs if isinstance(x, Tensor))


# ------------------------------------------------------------------------------------------ depth and width


@dataclass(frozen=True)
class Depth:
    """One number of units that stay, with the widths that the budgets leave it, and what that is worth."""

    units: int
    worth: float
    plan: Plan


@dataclass(frozen=True)
class DepthAndWidth:
    """The depths that were tried and the plan worth most. `unreachable`: depth -> why it was left out."""

    plan: Plan
    depths: tuple[Depth, ...]
    measure: str
    unreachable: Mapping[int, str]

    def __str__(self) -> str:
        units = list(self.plan.prices)
        lines = [f"{'units':>5}  {self.measure:>12}  " + "  ".join(f"{unit:>15}" for unit in units)]
        for depth in self.depths:
            prices = "  ".join(f"{depth.plan.prices[unit].after:>15,}" for unit in units)
            chosen = "  <- chosen" if depth.plan is self.plan else ""
            lines.append(f"{depth.units:>5}  {depth.worth:>12.4f}  {prices}{chosen}")
        return "\n".join([*lines, *(f"{n:>5}  {why}" for n, why in self.unreachable.items())])


@dataclass(frozen=True)
class DepthPath:
    """`ip.plan(..., depth=DepthPath(seen), budgets=[...])`: blocks leave along one path, channels share the rest.

    The fields are those of `plan_depth_and_width`, which also tells what each depth was worth.
    """

    seen: Mapping[str, Energy]
    depths: Sequence[int] | None = None
    probe: Callable[[nn.Module], float] | None = None
    strategy: Strategy = "clusters"
    seed: int = 0

    def plan(self, model: nn.Module, example_inputs: Any, importance: ScoreGroup, **options: Any) -> Plan:
        choice = {"depths": self.depths, "probe": self.probe, "strategy": self.strategy, "seed": self.seed}
        return plan_depth_and_width(model, example_inputs, importance, self.seen, **choice, **options).plan


def plan_depth_and_width(
    model: nn.Module,
    example_inputs: Any,
    importance: ScoreGroup,
    seen: Mapping[str, Energy],
    *,
    budgets: Budget | Sequence[Budget],
    depths: Sequence[int] | None = None,
    probe: Callable[[nn.Module], float] | None = None,
    seed: int = 0,
    strategy: Strategy = "clusters",
    utility: float = -1.0,
    floor: float | int = 0.1,
    **options: Any,
) -> DepthAndWidth:
    """Drop blocks along one nested path, give each depth the widths that the budgets leave it; keep the best.

    `depths` are numbers of units that stay (by default up to five, evenly from all to half of them). The path
    takes away one unit at a time: with "clusters" the one that K = |S| - 1 clusters of the remaining energies
    merge. Depths are compared by what `probe` gives for the pruned model (say, its accuracy once its batch
    norms are estimated again; the probe may train the model, which is a copy), or else by the utility of all
    sites of the dense model, where a site that left with its block counts as one kept at `floor`. Further
    `options` go to `plan`. Prices are those of the dense model and of the planned one.
    """
    inputs, wanted = as_arguments(example_inputs), [budgets] if isinstance(budgets, Budget) else list(budgets)
    edits = _removals_or_error(model, example_inputs)
    counts = _checked_depths(depths, len(edits))
    path = _path(strategy, [edit.unit.name for edit in edits], seen, seed)
    limits = [replace(b, keep=None, at_most=b.limit(_price(b, model, inputs))) for b in wanted]
    dense = Graph.trace(model, inputs, verify=False) if probe is None else None
    found: list[Depth] = []
    unreachable: dict[int, str] = {}
    for count in counts:
        gone = [edit for edit in edits if edit.unit.name not in path[count]]
        reduced = _reduced(model, gone)
        try:
            widths = planned(
                reduced, example_inputs, importance, budgets=limits, utility=utility, floor=floor, **options
            )
        except Infeasible as error:
            unreachable[count] = str(error)
            continue
        plan = _joined(model, inputs, gone, widths.plan, strategy)
        worth = _utility(dense, widths, utility, floor) if dense else _probed(model, plan, probe)
        found.append(Depth(count, worth, plan))
    if not found:
        raise Infeasible(
            f"no depth from {counts[-1]} to {counts[0]} units meets the budgets: {unreachable[counts[-1]]}"
        )
    best = max(found, key=lambda depth: depth.worth)
    return DepthAndWidth(best.plan, tuple(found), "utility" if probe is None else "probe", unreachable)


def _checked_depths(depths: Sequence[int] | None, units: int) -> list[int]:
    chosen = np.linspace(units, max(1, units // 2), min(5, units)).round() if depths is None else depths
    counts = sorted({int(n) for n in chosen}, reverse=True)
    if not counts or not 1 <= counts[-1] <= counts[0] <= units:
        raise ValueError(
            f"depths is {list(depths or ())}; the model has {units} skip units, so give 1 to {units} of them"
        )
    return counts


def _path(strategy: Strategy, units: list[str], seen: Mapping[str, Energy], seed: int) -> dict[int, set[str]]:
    """How many stay -> which, each set within the one before."""
    if strategy != "clusters":
        choose = _chooser(strategy, units, seen, seed)
        return {count: choose(count) for count in range(1, len(units) + 1)}
    values, left = _values_of(seen, units), list(range(len(units)))
    path = {len(units): set(units)}
    while len(left) > 1:
        left = [left[i] for i in sorted(_heads(values[left], len(left) - 1))]
        path[len(left)] = {units[i] for i in left}
    return path


def _joined(model: nn.Module, inputs: tuple, gone: Sequence[DropBlock], widths: Plan, strategy: str) -> Plan:
    """Blocks and channels as one plan for the dense model."""
    macs, params = count_macs(model, inputs), _params(model)
    prices = {
        "macs": Price(macs, widths.prices["macs"].after),
        "params": Price(params, widths.prices["params"].after),
    }
    notes = {**widths.made_by, "depth": strategy, "dropped": [edit.unit.name for edit in gone]}
    return Plan((*gone, *widths.edits), notes, prices, widths.inputs)


def _probed(model: nn.Module, plan: Plan, probe: Callable[[nn.Module], float] | None) -> float:
    assert probe is not None
    pruned = copy.deepcopy(model)
    carry_out(pruned, plan.edits)
    return float(probe(pruned))


def _utility(dense: Graph, widths: Planned, power: float, floor: float | int) -> float:
    """sum_g w_g (a_g^p - 1) / p over the dense model's sites."""
    weights, left = uniform()(dense), {site.name for site in widths.graph.sites}
    kept = {site.name: site.size for site in widths.graph.sites} | widths.plan.widths
    total = 0.0
    for site in dense.sites:
        least = floor if isinstance(floor, float) else min(1.0, floor / site.size)
        share = kept[site.name] / site.size if site.name in left else least
        total += weights[site.name] * (np.log(share) if power == 0 else (share**power - 1) / power)
    return float(total)
