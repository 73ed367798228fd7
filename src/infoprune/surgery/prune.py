"""prune_: carry out a plan, all of it or nothing."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from infoprune.errors import CertificateFailed, NotCompared, first_line
from infoprune.graph.arguments import Arguments
from infoprune.graph.copies import Reads, stand_in
from infoprune.graph.counting import count_macs, counted
from infoprune.graph.trace import without_values
from infoprune.graph.verify import structural_copy
from infoprune.graph.wrappers import bare, for_surgery, has_no_values, require_whole
from infoprune.require import require_model, require_numbers, require_seen
from infoprune.surgery.certificate import Certificate, certify, masked_original
from infoprune.surgery.history import note_plan
from infoprune.surgery.inputs import described, shapes
from infoprune.surgery.optimizer import heirs_of, remember
from infoprune.surgery.plan import Plan, carry_out, check_all


def prune_(model: nn.Module, example_inputs: Any, plan: Plan, *, certify: bool = True) -> nn.Module:
    """Apply `plan` to `model` in place and return it.

    Whatever goes wrong, the model is left bit for bit as it was. An optimizer made before goes on after
    `rebuild_optimizer(optimizer, plan, model)`.

    Args:
        model: The network; changed in place.
        example_inputs: What its forward takes.
        plan: What leaves.
        certify: Compare the pruned network with the original in which the same units are set to zero, and its price
            with that of the plan; raise CertificateFailed where they differ. NotCompared warns where nothing could be
            compared, or where values decide how much is computed, so that no price holds. Without it nothing is run and
            nothing is checked.
    """
    require_model(model)
    require_seen()
    if certify:
        require_numbers(model, Arguments.of(example_inputs).tensors)
    outer, model = model, for_surgery(model)
    example_inputs = _placed(example_inputs, model)
    check_all(model, plan)
    masked = masked_original(model, plan.edits) if certify else None
    macs = _macs(model, example_inputs, plan) if certify else 0
    before = dict(model.named_parameters())
    with transaction(model):
        replaced = carry_out(model, plan.edits)
        if masked is not None:
            _require(_certified(model, model, masked, plan, example_inputs, macs))
    remember(replaced, heirs_of(before, model, plan.edits))
    note_plan(model, plan)
    return outer


def _require(certificate: Certificate) -> None:
    if certificate.verdict == "failed" and certificate.price:
        raise CertificateFailed(
            f"{certificate.price}; the model is unchanged; plan() it again, and report the architecture if that gives "
            "the same"
        )
    if certificate.verdict == "failed":
        raise CertificateFailed(
            f"the pruned network does not compute what the masked original computes ({certificate}); the "
            "model is unchanged; put the sites you suspect in ignored_layers and report the architecture"
        )
    if not certificate.compared:
        warning = f"the pruned network was compared with nothing ({certificate.reason}); check it on inputs of your own"
        warnings.warn(warning, NotCompared, stacklevel=3)
    if certificate.price:
        warnings.warn(f"{certificate.price}; count it on inputs of your own", NotCompared, stacklevel=3)


def _priced(certificate: Certificate, pruned: nn.Module, example_inputs: Any, plan: Plan) -> Certificate:
    """With what is counted where the plan says something else, if it was planned for such inputs."""
    inputs, planned = Arguments.of(example_inputs), plan.prices.get("macs")
    if planned is None or shapes(described(inputs)) != shapes(plan.inputs):
        return certificate
    count = counted(pruned, inputs)
    if count.total == planned.after:
        return certificate
    price = f"the pruned network costs {count.total:,} MACs and the plan says {planned.after:,}"
    if not count.by_value:
        return replace(certificate, verdict="failed", price=price)
    chosen = ", ".join(sorted(count.by_value))
    return replace(certificate, price=f"{price}, since values decide how much is computed ({chosen})")


def certificate_of(model: nn.Module, example_inputs: Any, plan: Plan) -> Certificate:
    """What `prune_` checks: the planned network beside the masked original; the model is not touched."""
    require_seen()
    model = bare(model)
    require_whole(model)
    example_inputs = _placed(example_inputs, model)
    check_all(model, plan)
    macs = _macs(model, example_inputs, plan)
    pruned = structural_copy(model)
    carry_out(pruned, plan.edits)
    return _certified(model, pruned, masked_original(model, plan.edits), plan, example_inputs, macs)


def _placed(example_inputs: Any, model: nn.Module) -> Arguments:
    """Shapes alone where the network has nothing else, as `plan` takes them."""
    inputs = Arguments.of(example_inputs)
    return inputs.map(without_values) if has_no_values(model) else inputs


def _certified(
    model: nn.Module, pruned: nn.Module, masked: nn.Module, plan: Plan, example_inputs: Any, macs: int
) -> Certificate:
    """Neither side may read a tensor of the user's `model`, nor one of the other side."""
    sides, reads = (stand_in(pruned), stand_in(masked)), Reads(model, pruned, masked)
    try:
        with reads:
            certificate = certify(*sides, plan.edits, Arguments.of(example_inputs), macs=macs)
        reads.require_none()
    except Exception as error:
        raise _cannot_run(_fault(sides[1], example_inputs, reads) or error) from error
    return _priced(certificate, pruned, example_inputs, plan)


def _fault(masked: nn.Module, example_inputs: Any, reads: Reads) -> Exception | None:
    """Whether the masked original reads what is not its own; in another precision it may have failed before it did."""
    with suppress(Exception), torch.no_grad(), reads:
        Arguments.of(example_inputs).run(masked)
    return reads.fault


def _macs(model: nn.Module, example_inputs: Any, plan: Plan) -> int:
    if "macs" in plan.prices:
        return plan.prices["macs"].before
    try:
        return count_macs(model, Arguments.of(example_inputs))
    except Exception as error:
        raise _cannot_run(error) from error


def _cannot_run(error: Exception) -> CertificateFailed:
    return CertificateFailed(
        f"the planned network can't run on example_inputs ({type(error).__name__}: {first_line(error)}); the model is "
        "unchanged; check that the inputs and the plan belong to this model"
    )


@contextmanager
def transaction(model: nn.Module) -> Iterator[None]:
    """Whatever happens inside, an exception leaves the model as it was."""
    containers = ("_parameters", "_buffers", "_modules", "_forward_pre_hooks", "_forward_pre_hooks_with_kwargs")
    modules = [(m, dict(vars(m)), {c: dict(vars(m)[c]) for c in containers}) for m in model.modules()]
    try:
        yield
    except BaseException:
        for module, attributes, held in modules:
            vars(module).clear()
            vars(module).update(attributes)
            for container, entries in held.items():
                vars(module)[container].clear()
                vars(module)[container].update(entries)
        raise
