"""prune_: carry out a plan, all of it or nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from infoprune.errors import CertificateFailed
from infoprune.graph.counting import count_macs
from infoprune.graph.trace import as_arguments
from infoprune.graph.verify import structural_copy
from infoprune.surgery.certificate import Certificate, certify, masked_original
from infoprune.surgery.history import note_plan
from infoprune.surgery.optimizer import remember
from infoprune.surgery.plan import Plan, carry_out, check_all


def prune_(model: nn.Module, example_inputs: Any, plan: Plan, *, certify: bool = True) -> nn.Module:
    """Apply `plan` to `model` in place and return it.

    With `certify` the pruned network must compute what the original computes with the same units set to zero;
    otherwise CertificateFailed is raised. Whatever goes wrong, the model is left bit for bit as it was. An optimizer
    made before goes on after `rebuild_optimizer(optimizer, plan, model)`.
    """
    check_all(model, plan)
    masked = masked_original(model, plan.edits) if certify else None
    macs = _macs(model, example_inputs, plan) if certify else 0
    with transaction(model):
        replaced = carry_out(model, plan.edits)
        if masked is not None:
            certificate = _certified(model, masked, plan, example_inputs, macs)
            if certificate.verdict == "failed":
                raise CertificateFailed(
                    f"the pruned network does not compute what the masked original computes ({certificate}); the "
                    "model is unchanged; put the sites you suspect in ignored_layers and report the architecture"
                )
    remember(replaced)
    note_plan(model, plan)
    return model


def certificate_of(model: nn.Module, example_inputs: Any, plan: Plan) -> Certificate:
    """What `prune_` checks: the planned network beside the masked original; the model is not touched."""
    check_all(model, plan)
    macs = _macs(model, example_inputs, plan)
    pruned = structural_copy(model)
    carry_out(pruned, plan.edits)
    return _certified(pruned, masked_original(model, plan.edits), plan, example_inputs, macs)


def _certified(pruned: nn.Module, masked: nn.Module, plan: Plan, example_inputs: Any, macs: int) -> Certificate:
    try:
        return certify(pruned, masked, plan.edits, as_arguments(example_inputs), macs=macs)
    except Exception as error:
        raise _cannot_run(error) from error


def _macs(model: nn.Module, example_inputs: Any, plan: Plan) -> int:
    if "macs" in plan.prices:
        return plan.prices["macs"].before
    try:
        return count_macs(model, as_arguments(example_inputs))
    except Exception as error:
        raise _cannot_run(error) from error


def _cannot_run(error: Exception) -> CertificateFailed:
    first = str(error).splitlines()[0] if str(error) else ""
    return CertificateFailed(
        f"the planned network can't run on example_inputs ({type(error).__name__}: {first}); the model is unchanged; "
        "check that the inputs and the plan belong to this model"
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
