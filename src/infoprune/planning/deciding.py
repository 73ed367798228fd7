"""plan(): decide what stays, under budgets or by rates, of channels alone or of blocks and tokens too."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from torch import nn

from infoprune.budgets import Budget
from infoprune.graph.site_scores import ScoreGroup
from infoprune.graph.wrappers import followable
from infoprune.planning.checks import check
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

    `importance` is any torch-pruning importance, ours or the host's. `budgets` (one or several) all hold at once;
    `rates` instead removes a share p of every site (or of those that its keys mean), so that ceil((1 - p) n) of n units
    stay; with `rounding="down"` int((1 - p) n), as a stock pruner has it. Keys of `rates` and `floor` are modules,
    names of sites, subtrees such as "layer4", or globs such as "layer4.*.conv1"; the last one that means a site counts.
    `layer_importance` maps site names to weights (by default a site weighs as many as layers write to it) and
    `utility` is p in sum_g w_g (a_g^p - 1)/p over the kept fractions a_g. Channels are kept in multiples of `round_to`;
    every site keeps at least `floor`, a fraction of its units or, as an int, a number of them. `ignored_layers`
    (modules, parameters, names or globs) keep all their outputs. Nothing is changed in the model. Classifier outputs
    always stay. `depth` (an infoprune.DepthPath) drops whole blocks as well, as many as leave the plan worth most;
    `tokens` (an infoprune.TokenPath) lets a vision transformer's tokens share the budgets.
    Attention loses whole heads; inside the modules `head_dims` all heads stay and lose the same dimensions instead.
    `also` holds other example inputs, for code that the first do not reach: a site stays where a parameter that was
    never read is as long as what the site would shrink. Prices are those of `example_inputs`.
    `tied=True` keeps one width in all blocks: sites of one role, whose names differ in numbers alone, keep one share of
    their units. Globs such as ["*.mlp.fc1"] tie what each of them means, a list of globs in their place what all mean.
    Such networks load elsewhere by their configuration (`save_plain`).
    `shapes_alone` is for networks that are too large to run and to copy here: sites are checked on the meta device, by
    shapes and not by what is computed; `prune_` compares outputs, wherever it runs. Weights may be memory-mapped.
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
    """`plan` with its evidence; `terms` are those of `plan`."""
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
    made, measured = refined(
        model,
        inputs,
        budgets[place],
        make=lambda budget: allocated([*budgets[:place], budget, *budgets[place + 1 :]]),
        plan_of=lambda candidate: candidate.plan,
    )
    notes = {**made.plan.made_by, "latency": str(measured), "latency_verdict": measured.verdict}
    return replace(made, plan=replace(made.plan, made_by=notes))


def _checked_budgets(budgets: Budget | Sequence[Budget], rates: Any) -> list[Budget]:
    wanted = [budgets] if isinstance(budgets, Budget) else list(budgets)
    odd = next((b for b in wanted if not isinstance(b, Budget)), None)
    if odd is not None:
        raise TypeError(f"budgets holds {odd!r}; make budgets with infoprune.budgets.macs(keep=0.5) and the like")
    if bool(wanted) == (rates is not None):
        raise ValueError("give either budgets=[...] or rates=, not both" if wanted else "give budgets=[...] or rates=")
    return wanted
