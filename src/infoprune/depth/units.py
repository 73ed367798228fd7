"""Which whole blocks can leave: found structurally, then verified by trial."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from infoprune.depth.going_on import GoingOn, goes_on
from infoprune.errors import Untraceable
from infoprune.families import dataflow_of, families
from infoprune.graph.agreement import compare
from infoprune.graph.arguments import Arguments
from infoprune.graph.copies import require_own_code
from infoprune.graph.passes import Pass
from infoprune.graph.slots import Site
from infoprune.graph.verify import restless, structural_copy
from infoprune.graph.wrappers import followable, has_no_values
from infoprune.surgery.blocks import DropBlock
from infoprune.surgery.certificate import masked_original
from infoprune.surgery.plan import carry_out, removal_of

Trial = Callable[[Sequence[DropBlock]], bool]


def skip_units(model: nn.Module, example_inputs: Any) -> tuple[Site, ...]:
    """The residual branches, and the concatenated layers, that can leave the network one by one or together.

    Units run in this order. Each was found where its sum or concatenation happens, and removed from a copy,
    which then computed what the original computes with the unit's branch multiplied by zero (and, where norms follow a
    concatenation, without the constants that these make of zeros: see `DropBlock`). A module with
    one branch is named as a whole (`layer1.0`); one with several has a unit a branch (`blocks.0.attn`,
    `blocks.0.mlp`), and leaves as a whole once all of them are gone. Of decoders it is also tried whether they go on
    from what they kept of the tokens before: attention by which a cache tells its length stays.
    """
    return tuple(edit.site for edit in removals(model, example_inputs))


def removals(model: nn.Module, example_inputs: Any) -> tuple[DropBlock, ...]:
    """The edits that remove each of `skip_units`."""
    model, inputs = followable(model), Arguments.of(example_inputs)
    if has_no_values(model):
        raise Untraceable("whole blocks are found by what a model computes, and its weights have no values; load them")
    require_own_code(model, inputs)
    flow = dataflow_of(model, inputs)
    units = [unit for find in families.values() for unit in find(model, inputs, flow)]
    edits = [DropBlock.of(unit, model) for unit in units]
    return tuple(_verified(model, inputs, edits)) if edits else ()


def _verified(model: nn.Module, inputs: Arguments, edits: Sequence[DropBlock]) -> list[DropBlock]:
    """Those that leave as promised: tried together, then one branch of each module; by halves on failure."""
    moved = restless(model)
    asked = GoingOn if goes_on(moved, inputs) else _as_it_is

    def holds(tried: Sequence[DropBlock]) -> bool:
        return _holds(moved, inputs, tried, asked)

    branches = max(len(edit.unit.siblings) for edit in edits)
    good = list(edits)
    for part in (None, *range(branches)):
        good = _without_failing(holds, good, part)
    return _where_others_stay(holds, good) if asked is GoingOn else good


def _where_others_stay(holds: Trial, edits: list[DropBlock]) -> list[DropBlock]:
    """Caches ask their first layer, or their last, how far they are, so that each half leaves alone as well."""
    middle = len(edits) // 2
    bad = _failing(holds, edits[:middle]) | _failing(holds, edits[middle:])
    return [edit for edit in edits if edit.unit.name not in bad]


def _as_it_is(model: nn.Module) -> nn.Module:
    return model


def _without_failing(holds: Trial, edits: list[DropBlock], part: int | None) -> list[DropBlock]:
    """`part` picks the units to try: all of them, or those that are branch number `part` of their module."""
    tried = [e for e in edits if part is None or e.unit.branch_end in e.unit.siblings[part : part + 1]]
    bad = _failing(holds, tried)
    return [edit for edit in edits if edit.unit.name not in bad]


def _failing(holds: Trial, edits: Sequence[DropBlock]) -> set[str]:
    if not edits or holds(edits):
        return set()
    if len(edits) == 1:
        return {edits[0].unit.name}
    middle = len(edits) // 2
    failing = _failing(holds, edits[:middle]) | _failing(holds, edits[middle:])
    return failing or {edit.unit.name for edit in edits}


def _holds(
    model: nn.Module,
    inputs: Arguments,
    edits: Sequence[DropBlock],
    asked: Callable[[nn.Module], nn.Module],
    *,
    tolerance: float = 1e-3,
) -> bool:
    """The copy without the units computes what the copy with zeroed branches computes."""
    pruned, masked = structural_copy(model), masked_original(model, edits)
    statistics = [statistic for edit in edits for statistic in edit.inexact]
    try:
        carry_out(pruned, edits)
        agreement = compare(asked(pruned), asked(masked), removal_of(edits), Pass(inputs), statistics)
        return agreement.compared and agreement.relative <= tolerance
    except Exception:  # whatever the model's own code raises is the answer
        return False


def removals_or_error(model: nn.Module, example_inputs: Any) -> tuple[DropBlock, ...]:
    edits = removals(model, example_inputs)
    if not edits:
        raise Untraceable(f"{type(model).__name__} has no skip unit that could leave; prune its channels instead")
    return edits
