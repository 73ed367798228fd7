"""plan(): decide what stays, under budgets or by rates, of channels alone or of blocks and tokens too."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from torch import nn

from infoprune.budgets import Budget
from infoprune.graph.site_scores import ScoreGroup
from infoprune.graph.wrappers import followable
from infoprune.planning.checks import check, listed
from infoprune.planning.scored import LayerImportance, Planned, Scored, Terms
from infoprune.planning.shares import LEAST, Rounding, by_name
from infoprune.planning.ties import Tied
from infoprune.refining import refined
from infoprune.surgery.plan import Plan


class DepthPath(Protocol):
    """Something that shares budgets between whole blocks and channels."""

    def plan(self, model: nn.Module, example_inputs: Any, importance: ScoreGroup, **options: Any) -> Plan: ...


class TokenPath(Protocol):
    """Something that shares budgets between tokens and channels."""

    def within(self, scored: Scored, budgets: Sequence[Budget]) -> Planned: ...


def plan(
    model: nn.Module,
    example_inputs: Any,
    importance: ScoreGroup,
    *,
    layer_importance: LayerImportance | None = None,
    budgets: Budget | Sequence[Budget] = (),
    rates: float | Mapping[str | nn.Module, float] | None = None,
    utility: float = -1.0,
    round_to: int = 1,
    floor: float | int | Mapping[str | nn.Module, float | int] = LEAST,
    depth: DepthPath | None = None,
    ignored_layers: Iterable[str | nn.Module | nn.Parameter] = (),
    num_heads: Mapping[nn.Module, int] | None = None,
    solver: Any = None,
    tokens: TokenPath | None = None,
    head_dims: Iterable[str | nn.Module] = (),
    also: Sequence[Any] = (),
    rounding: Rounding = "up",
    tied: Tied = False,
    shapes_alone: bool = False,
) -> Plan:
    """Decide what stays: `importance` ranks the units of a site, `budgets` and the solver say how many of them stay.

    Nothing is changed in the model. Classifier outputs always stay. Prices are those of `example_inputs`. Layers are
    meant by modules, names of sites, subtrees such as "layer4", or globs such as "layer4.*.conv1"; where several keys
    of `rates` or `floor` mean one site, the last one counts.

    Args:
        model: The network; one in a wrapper such as DistributedDataParallel is looked through.
        example_inputs: What its forward takes: a tensor, a tuple of arguments, or a dict of named ones.
        importance: Any torch-pruning importance, ours or the host's.
        layer_importance: Weights of sites by name; by default a site weighs as many as layers write to it.
        budgets: One or several, such as `budgets.macs(keep=0.5)`; all of them hold at once.
        rates: In place of budgets, the share p of units that leaves, of every site or of those that its keys mean:
            ceil((1 - p) n) of n units stay.
        utility: p in the sum that is made as large as budgets let it, sum_g w_g (a_g^p - 1)/p over the kept fractions
            a_g of sites that weigh w_g.
        round_to: Channels are kept in multiples of this number.
        floor: What every site keeps at least: a fraction of its units (0.1 by default) or, as an int, a number of them.
        depth: An `infoprune.DepthPath` drops whole blocks as well, as many as leave the plan worth most.
        ignored_layers: Modules, parameters, names or globs that keep all their outputs.
        num_heads: Heads of layers, where they are not found by themselves; as in torch-pruning.
        solver: A name of `infoprune list solvers`, or a function; by default "geometric", and "linear" at a utility of
            1.
        tokens: An `infoprune.TokenPath` lets a vision transformer's tokens share the budgets.
        head_dims: Modules in which all heads stay and lose the same dimensions; elsewhere heads leave whole.
        also: Other example inputs, for code that the first do not reach. A site stays where a parameter that was never
            read is as long as what the site would shrink.
        rounding: "down" keeps int((1 - p) n) units at `rates`, as a stock pruner does.
        tied: True keeps one width in all blocks: sites of one role, whose names differ in numbers alone, keep one share
            of their units. Globs such as ["*.mlp.fc1"] tie what each of them means, a list of globs in their place what
            all mean. Such networks load elsewhere by their configuration (`save_plain`).
        shapes_alone: For networks that are too large to run and to copy here: sites are checked on the meta device, by
            shapes and not by what is computed; `prune_` compares outputs. Weights may be memory-mapped.
    """
    terms: dict[str, Any] = {
        "layer_importance": layer_importance, "budgets": budgets, "rates": rates, "utility": utility,
        "round_to": round_to, "floor": floor, "ignored_layers": ignored_layers, "num_heads": num_heads,
        "solver": solver, "tokens": tokens, "head_dims": head_dims, "also": also,
        "rounding": rounding,
        "tied": tied, "shapes_alone": shapes_alone,
    }  # fmt: skip
    model = followable(model)
    check(model, example_inputs, importance, {**terms, "depth": depth})
    terms |= {name: by_name(model, terms[name], name) for name in ("rates", "floor")}
    if depth is None:
        return planned(model, example_inputs, importance, **terms).plan
    terms.pop("rounding")
    terms.pop("shapes_alone")
    if terms.pop("rates") is not None:
        raise ValueError("depth needs budgets to share between blocks and channels; give budgets=[...], not rates")
    return depth.plan(model, example_inputs, importance, **terms)


def planned(
    model: nn.Module, example_inputs: Any, importance: ScoreGroup, *, tokens: TokenPath | None = None, **terms: Any
) -> Planned:
    """`plan` with its evidence.

    Args:
        model: The network.
        example_inputs: What its forward takes.
        importance: Ranks the units of a site.
        tokens: As in `plan`.
        **terms: Further arguments of `plan`.
    """
    asked = Terms(**terms)
    asked = replace(asked, budgets=_checked_budgets(asked.budgets, asked.rates))
    if tokens is not None and asked.rates is not None:
        raise ValueError("tokens need budgets to share with channels; give budgets=[...], not rates")
    return decided(Scored.of(followable(model), example_inputs, importance, asked), tokens)


def decided(scored: Scored, tokens: TokenPath | None = None) -> Planned:
    """The plan by the terms under which a model was traced and scored."""
    rates, wanted = scored.terms.rates, _checked_budgets(scored.terms.budgets, scored.terms.rates)
    if rates is not None:
        return scored.at_rates(rates)
    if tokens is not None:
        return tokens.within(scored, wanted)
    return _refined(scored.graph.model, scored.graph.inputs, wanted, scored.within)


def _refined(
    model: nn.Module, inputs: Any, budgets: Sequence[Budget], allocated: Callable[[Sequence[Budget]], Planned]
) -> Planned:
    """The plan for these budgets, made again for those that are to be measured."""
    place = next((i for i, budget in enumerate(budgets) if budget.refine), None)
    if place is None:
        return allocated(budgets)
    planned, measured = refined(
        model,
        inputs,
        budgets[place],
        make=lambda budget: allocated([*budgets[:place], budget, *budgets[place + 1 :]]),
        plan_of=lambda candidate: candidate.plan,
    )
    notes = {**planned.plan.made_by, "latency": str(measured), "latency_verdict": measured.verdict}
    return replace(planned, plan=replace(planned.plan, made_by=notes))


def _checked_budgets(budgets: Budget | Sequence[Budget], rates: Any) -> list[Budget]:
    wanted = listed(budgets)
    if bool(wanted) == (rates is not None):
        raise ValueError("give either budgets=[...] or rates=, not both" if wanted else "give budgets=[...] or rates=")
    return wanted
