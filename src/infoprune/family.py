"""family(): many sizes from one look, each smaller network inside the larger one."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, get_type_hints

from torch import nn

from infoprune.budgets import Budget, macs
from infoprune.compensation import Compensation
from infoprune.compensation.compensating import compensate_together_
from infoprune.compensation.history import compensations_of
from infoprune.errors import UnknownName
from infoprune.graph.site_scores import ScoreGroup
from infoprune.graph.wrappers import bare, followable
from infoprune.importance import ConditionalImportance
from infoprune.observe import Observations
from infoprune.planning import Scored, Terms, nested
from infoprune.planning.checks import check
from infoprune.planning.shares import by_name
from infoprune.surgery import Plan, prune_
from infoprune.surgery.history import plans_of

NOT_TOLD = {"budgets": (), "rates": None, "rounding": "up"}  # terms of a plan that a family settles


@dataclass(frozen=True, eq=False)
class Member:
    """A network of a family under its `name`, with the plans and compensations that made it, first to last."""

    name: str
    model: nn.Module = field(repr=False)
    plans: tuple[Plan, ...] = field(repr=False)
    compensations: tuple[Compensation, ...] = field(default=(), repr=False)

    @property
    def plan(self) -> Plan:
        """The one that made it a member."""
        return self.plans[-1]


@dataclass(frozen=True, eq=False)
class Family:
    """Networks of one dense network, largest first: every unit that a smaller one keeps is one of the larger one's.

    `infoprune.save(directory, family)` writes them as one artefact. `str()` is a table.
    """

    members: tuple[Member, ...]

    def __getitem__(self, name: str | float) -> Member:
        """The member of this name; 0.5 means "0.5"."""
        return {member.name: member for member in self}[known_member(name, self.names, "the family")]

    def __iter__(self) -> Iterator[Member]:
        return iter(self.members)

    def __len__(self) -> int:
        return len(self.members)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the members, largest first."""
        return tuple(member.name for member in self)

    def __str__(self) -> str:
        return table_of([(member.name, member.plan, member.compensations) for member in self])


def family(
    model: nn.Module,
    example_inputs: Any,
    seen: Observations | None,
    *,
    keeps: Sequence[float | Budget],
    loader: Iterable[Any] | None = None,
    samples: int = 512,
    importance: ScoreGroup | None = None,
    certify: bool = True,
    progress: bool = True,
    **terms: Any,
) -> Family:
    """Networks of several sizes from one look at a dense one, each smaller one inside the larger one.

    Units are ranked once. Each plan is as good as any within its budget that keeps, of every site, a part of what the
    one before keeps. A member that keeps everything is a copy of the dense network. The model is not touched; whatever
    goes wrong, there is no family. Raises Infeasible where the smallest budget can't be met.

    Args:
        model: The dense network.
        example_inputs: What its forward takes.
        seen: What `observe(model, loader, moments=True)` gave: it tells which units can stand in for which.
        keeps: Shares of the MACs that remain, falling, each once, such as [0.75, 0.5, 0.35]; or budgets in their place.
        loader: Pictures on which the readers of what left are refitted in every member, as by `compensate_`; the dense
            network goes through them once for all. Without it members are what surgery leaves.
        samples: How many pictures of the loader are read at most.
        importance: Ranks units in the place of `seen`.
        certify: Compare every member with the masked original, as `prune_` does.
        progress: Show how far compensation has come.
        **terms: Others of `plan`, such as `round_to=8`.
    """
    budgets = _budgets(keeps)
    names = [_name(budget) for budget in budgets]
    if importance is None:
        importance = ConditionalImportance(seen)  # type: ignore[arg-type] - says what else it was given
    scored = _scored(model, example_inputs, importance, terms)
    plans = [planned.plan for planned in nested(scored, [[budget] for budget in budgets])]
    return family_of(
        model, example_inputs, dict(zip(names, plans, strict=True)), loader,
        samples=samples, certify=certify, progress=progress,
    )  # fmt: skip


def family_of(
    model: nn.Module,
    example_inputs: Any,
    plans: dict[str, Plan],
    loader: Iterable[Any] | None,
    *,
    samples: int = 512,
    certify: bool = True,
    progress: bool = True,
) -> Family:
    """The networks that nested plans, by name and largest first, make of copies of `model`."""
    networks = {name: _pruned(model, example_inputs, plan, certify=certify) for name, plan in plans.items()}
    done: dict[str, Compensation] = {}
    cut = [name for name, plan in plans.items() if plan.edits]
    if loader is not None and cut:
        pairs = [(networks[name], [plans[name]]) for name in cut]
        compensations = compensate_together_(pairs, model, loader, samples, progress=progress)
        done = dict(zip(cut, compensations, strict=True))
    history, mended = plans_of(bare(model)), compensations_of(bare(model))
    return Family(
        tuple(
            Member(name, network, (*history, plans[name]), (*mended, *([done[name]] if name in done else ())))
            for name, network in networks.items()
        )
    )


def member_name(size: float | str) -> str:
    """What a member of this size is called: 0.5 is "0.5", and "8 ms" "8ms"."""
    try:
        return f"{float(size):.10g}"
    except ValueError:
        return "".join(str(size).split())


def known_member(asked: str | float, names: Sequence[str], where: str) -> str:
    """The name that is meant, or UnknownName lists those that there are."""
    name = member_name(asked) if isinstance(asked, int | float) else str(asked)
    if name not in names:
        raise UnknownName(f"{where} has no member {name:.40}; its members are {', '.join(names)}")
    return name


def table_of(members: Sequence[tuple[str, Plan, Sequence[Compensation]]]) -> str:
    """A row a member: what it costs, and how far its outputs are from the dense ones."""
    rows = [("member", "MACs", "", "parameters", "", "outputs off by")]
    for name, plan, done in members:
        macs, params = plan.prices["macs"], plan.prices["params"]
        steps = list(done[-1].outputs.values()) if done else []
        off = f"{steps[0]:.3g} -> {min(steps):.3g}" if steps else "" if plan.edits else "0"
        rows.append((name, f"{macs.after:,}", f"{macs.keep:.1%}", f"{params.after:,}", f"{params.keep:.1%}", off))
    widths = [max(len(row[i]) for row in rows) for i in range(6)]
    lines = ["  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "-" * max(map(len, lines)))
    if any(done for _, _, done in members):
        lines.append("outputs off by: squared error over variance on held-out samples, by surgery and then refitted")
    return "\n".join(lines)


# --------------------------------------------------------------------------------------------------- at the door


def _budgets(keeps: Any) -> list[Budget]:
    """One a member; TypeError or ValueError for what can't be falling sizes."""
    if not isinstance(keeps, Sequence) or isinstance(keeps, str) or not keeps:
        raise TypeError(f"keeps is {keeps!r:.60}; give falling shares of the MACs, such as [0.75, 0.5, 0.35]")
    odd = next((k for k in keeps if not isinstance(k, Budget | int | float) or isinstance(k, bool)), None)
    if odd is not None:
        raise TypeError(f"keeps holds {odd!r:.60}; give shares of the MACs such as 0.5, or budgets")
    shares = [keep for keep in keeps if not isinstance(keep, Budget)]
    if any(after >= before for before, after in pairwise(shares)):
        raise ValueError(f"keeps are {list(shares)}; give falling shares, each once, such as [0.75, 0.5, 0.35]")
    budgets = [keep if isinstance(keep, Budget) else macs(keep=keep) for keep in keeps]
    if len({type(budget) for budget in budgets}) > 1:
        raise ValueError("keeps holds budgets of several kinds; give those of one kind, so that sizes can be compared")
    return budgets


def _name(budget: Budget) -> str:
    return member_name(budget.keep or budget.at_most or 0.0)


def _scored(model: nn.Module, example_inputs: Any, importance: ScoreGroup, terms: dict[str, Any]) -> Scored:
    known = [name for name in get_type_hints(Terms) if name not in NOT_TOLD]
    unknown = next((name for name in terms if name not in known), None)
    if unknown is not None:
        raise TypeError(f"a family takes no {unknown}; of the terms of a plan it takes {', '.join(known)}")
    usual = {**vars(Terms()), **terms}
    model = followable(model)
    check(model, example_inputs, importance, {**usual, "depth": None, "tokens": None})
    return Scored.of(
        model, example_inputs, importance, Terms(**{**usual, "floor": by_name(model, usual["floor"], "floor")})
    )


def _pruned(model: nn.Module, example_inputs: Any, plan: Plan, *, certify: bool) -> nn.Module:
    network = copy.deepcopy(bare(model))
    return prune_(network, example_inputs, plan, certify=certify) if plan.edits else network
