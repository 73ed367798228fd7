"""What is promised of one pruned model, and whether it is so."""

from __future__ import annotations

import copy
import re
import tempfile
import traceback
from collections.abc import Callable
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any

import independent_mask
import torch
from independent_mask import NotComparable, ShapesDiffer, tensors_in
from torch import nn

import infoprune as ip
from third_party.entry import Entry

EQUAL = 1e-9  # double precision and at most some hundred layers: rounding is ten thousand times smaller
EQUAL_IN_SINGLE = 1e-5  # for kernels of single precision only: rounding is ten times smaller
OUTCOMES = ("WRONG", "CRASH", "refused", "uncompared", "pruned")
REDONE = {"layer norm", "rms norm", "group norm"}  # statistics that the independent check takes over the kept channels
REACHABLE = re.compile(r"(\w+) <= ([\d.e+]+) cannot be met: the cheapest reachable price is ([\d.e+]+)")


class Stage(Exception):
    """What kept a model from being just pruned: (outcome, reason)."""


def row(entry: Entry) -> dict[str, Any]:
    """Plan for half of the MACs, prune, and check every promise; the outcome is a word of docs/coverage.md."""
    found: dict[str, Any] = {"model": entry.name, "package": entry.package, "kind": entry.kind}
    found["version"] = "" if entry.package == "by hand" else version(entry.package)
    ends: list[tuple[str, str]] = []
    try:
        _checked(entry, found, ends)
    except Stage as stage:
        ends.append(stage.args)  # type: ignore[arg-type]
    worst = min((outcome for outcome, _ in ends), key=OUTCOMES.index, default="pruned")
    return {**found, "outcome": worst, "reason": "; ".join(reason for outcome, reason in ends if outcome == worst)}


def _checked(entry: Entry, found: dict[str, Any], ends: list[tuple[str, str]]) -> None:
    """Adds to `ends` what kept the model from being just pruned; later checks go on after it."""
    model, inputs = entry.model(), entry.inputs(entry.batches[0])
    untouched = copy.deepcopy(model.state_dict())
    plan = _planned(model, inputs, found, ends)
    if any(not torch.equal(tensor, untouched[name]) for name, tensor in model.state_dict().items()):
        raise Stage("WRONG", "planning changed the model")
    if plan is None:
        return
    certificate = _tried("certificate", lambda: ip.certificate_of(model, inputs, plan))
    found.update(certificate=certificate.verdict, difference=certificate.difference, scale=certificate.scale)
    found.update(statistics=list(certificate.statistics), sites=len(plan.edits))
    found["left_alone"] = plan.made_by.get("quarantined", [])
    pruned = _tried("prune", lambda: ip.prune_(entry.model(), inputs, plan))
    checks: list[Callable[[], None]] = [
        lambda: _as_counted(model, pruned, inputs, plan, found),
        lambda: _masked_alike(entry, plan, certificate, found),
        lambda: _has_number(certificate),
        lambda: _gradients(entry, pruned),
        lambda: _generates(entry, pruned, found),
        lambda: _comes_back(entry, pruned, plan, inputs, found),
    ]
    for check in checks:
        try:
            check()
        except Stage as stage:
            ends.append(stage.args)  # type: ignore[arg-type]


def _as_counted(model: nn.Module, pruned: nn.Module, inputs: tuple, plan: Any, found: dict[str, Any]) -> None:
    (macs_before, params_before), (macs, params) = _counts(model, inputs), _counts(pruned, inputs)
    found.update(keep=macs / macs_before, params_keep=params / params_before)
    for unit, dense, after in (("macs", macs_before, macs), ("params", params_before, params)):
        price = plan.prices[unit]
        if (price.before, price.after) != (dense, after):
            raise Stage("WRONG", f"{unit}: planned {price.before} -> {price.after}, counted {dense} -> {after}")


def _has_number(certificate: Any) -> None:
    if certificate.verdict == "not compared" or not certificate.compared or certificate.scale == 0:
        raise Stage("uncompared", f"the certificate has no number: {certificate}")


def _tried(stage: str, action: Callable[[], Any]) -> Any:
    """What `action` gives; a declared error is a refusal, any other a crash."""
    try:
        return action()
    except ip.InfopruneError as error:
        raise Stage("refused", f"{stage}: {type(error).__name__}: {error}") from error
    except Exception as error:
        raise Stage("CRASH", f"{stage}: {_where(error)}") from error


def _where(error: Exception) -> str:
    """The error with the last line of the library that it went through."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f"infoprune{'/'}" in f.filename]
    ours = [f"{Path(f.filename).parent.name}/{Path(f.filename).name}:{f.lineno}" for f in frames if "src" in f.filename]
    return f"{type(error).__name__}: {str(error)[:300]}" + (f" at {ours[-1]}" if ours else "")


# ------------------------------------------------------------------------------------------ the plan


def _planned(model: nn.Module, inputs: tuple, found: dict[str, Any], ends: list[tuple[str, str]]) -> Any:
    """A plan for half of the MACs. One that can't get there is refused, and planned again for what it can reach, so
    that the promises are checked on it all the same."""
    found["importance"] = "capacity and independence"
    try:
        return ip.plan(
            model, inputs, ip.importance.CapacityIndependenceImportance(), budgets=[ip.budgets.macs(keep=0.5)]
        )
    except ip.errors.Infeasible as error:
        ends.append(("refused", f"plan: Infeasible: {error}"))
        told = REACHABLE.search(str(error))
        if told is None:
            return None
        found["reach"] = 0.5 * float(told[3]) / float(told[2])
        share = min(1.0, found["reach"] * 1.002)
        again = {"budgets": [ip.budgets.macs(keep=share)]}
        return _tried("plan", lambda: ip.plan(model, inputs, ip.importance.CapacityIndependenceImportance(), **again))
    except ip.InfopruneError as error:
        return _by_magnitude(model, inputs, found, error)
    except Exception as error:
        raise Stage("CRASH", f"plan: {_where(error)}") from error


def _by_magnitude(model: nn.Module, inputs: tuple, found: dict[str, Any], error: Exception) -> Any:
    """The host's L2 magnitude where ours has no scores."""
    import torch_pruning as tp

    found["importance"] = "L2 magnitude"
    try:
        return ip.plan(model, inputs, tp.importance.MagnitudeImportance(p=2), budgets=[ip.budgets.macs(keep=0.5)])
    except Exception:  # what the first attempt said is what a user would have been told
        raise Stage("refused", f"plan: {type(error).__name__}: {error}") from error


def _counts(model: nn.Module, inputs: tuple) -> tuple[int, int]:
    counted = _tried("measure", lambda: ip.measure(model, inputs))
    return counted.macs, counted.params


# ------------------------------------------------------------------------------------------ the independent mask


def _masked_alike(entry: Entry, plan: Any, certificate: Any, found: dict[str, Any]) -> None:
    """Both networks with weights that all differ, in double precision, on the example and on another batch."""
    dense, pruned = (independent_mask.distinct(entry.model()) for _ in range(2))
    equal = EQUAL
    try:
        independent_mask.run(dense, entry.inputs(entry.batches[0]))
    except Exception:  # kernels of single precision only
        dense, pruned, equal = dense.float(), pruned.float(), EQUAL_IN_SINGLE
    _tried("prune", lambda: ip.prune_(pruned, entry.inputs(entry.batches[0]), plan, certify=False))
    for field, batch in (("mask", entry.batches[0]), ("mask_other", entry.batches[1])):
        inputs = entry.inputs(batch)
        try:
            independent_mask.run(dense, inputs)
        except Exception as error:
            found["mask_reason"] = f"the dense network does not run: {type(error).__name__}: {str(error)[:160]}"
            return
        try:
            compared = independent_mask.compare(dense, pruned, inputs)
        except NotComparable as error:
            found["mask_reason"] = str(error)
            return
        except ShapesDiffer as error:
            raise Stage("WRONG", str(error)) from error
        except Exception as error:
            raise Stage(
                "WRONG", f"the pruned network fails on {batch} examples: {type(error).__name__}: {error}"
            ) from error
        if compared.outputs == 0 or compared.scale == 0:
            found["mask_reason"] = "what it gives out holds no number, as detections of an untrained network do"
            return
        found.update({field: compared.relative, "redone": list(compared.redone)})
        _judge(field, compared, certificate, equal)


def _judge(field: str, compared: Any, certificate: Any, equal: float) -> None:
    if compared.relative <= equal:
        return
    excused = set(certificate.statistics) - (REDONE if compared.redone else set())
    if not excused:
        raise Stage(
            "WRONG", f"{field}: differs by {compared.relative:.1e} of the output; the certificate: {certificate}"
        )


# ------------------------------------------------------------------------------------------ using it


def _gradients(entry: Entry, pruned: nn.Module) -> None:
    """One backward pass in training mode; only what the dense network can do is asked for."""
    inputs = entry.inputs(max(entry.batches))
    try:
        finite = _backward(copy.deepcopy(pruned), inputs)
    except Exception as error:
        try:
            _backward(entry.model(), inputs)
        except Exception:
            return
        raise Stage("CRASH", f"backward: {_where(error)}") from error
    if not finite and _backward(entry.model(), inputs):
        raise Stage("WRONG", "gradients are not finite")


def _backward(model: nn.Module, inputs: tuple) -> bool:
    torch.manual_seed(0)
    outputs = [t for t in tensors_in(model.train()(*inputs)) if t.requires_grad and t.is_floating_point()]
    sum(t.pow(2).mean() for t in outputs).backward()  # type: ignore[union-attr]
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    return bool(gradients) and all(bool(torch.isfinite(g).all()) for g in gradients)


def _generates(entry: Entry, pruned: nn.Module, found: dict[str, Any]) -> None:
    """Greedy words with a cache of keys and values and without one: the same logits, as in the dense network."""
    if not entry.generates:
        return
    ids = entry.inputs(entry.batches[0])[0]
    try:
        dense, model = _cache_gap(independent_mask.distinct(entry.model()), ids), copy.deepcopy(pruned).double()
    except RuntimeError:  # kernels of single precision only
        dense, model = _cache_gap(entry.model(), ids), copy.deepcopy(pruned)
    try:
        gap = _cache_gap(model, ids)
    except Exception as error:
        raise Stage("CRASH", f"generate: {_where(error)}") from error
    found["generate"] = gap
    if not gap <= max(1e-6, 10 * dense):
        raise Stage("WRONG", f"generate: logits with a cache differ by {gap:.1e} (dense: {dense:.1e})")


def _cache_gap(model: nn.Module, ids: torch.Tensor) -> float:
    told = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False, "output_logits": True}
    before, double = torch.get_default_dtype(), next(model.parameters()).dtype == torch.float64
    torch.set_default_dtype(torch.float64 if double else torch.float32)
    try:
        with torch.no_grad(), independent_mask.Doubled() if double else nullcontext():
            runs = [
                model.generate(ids, **told, return_dict_in_generate=True, use_cache=cached) for cached in (True, False)
            ]
    finally:
        torch.set_default_dtype(before)
    if not torch.equal(runs[0].sequences, runs[1].sequences):
        return float("inf")
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(runs[0].logits, runs[1].logits, strict=True))


def _comes_back(entry: Entry, pruned: nn.Module, plan: Any, inputs: tuple, found: dict[str, Any]) -> None:
    """Saved and loaded, by name where a registry is said to know the model, the outputs are the same bits."""
    pruned.eval()
    expected = _outputs(pruned, inputs)
    with tempfile.TemporaryDirectory() as folder:
        place = f"{folder}/artefact"
        _tried("save", lambda: ip.save(place, pruned, plan, factory=entry.model))
        again = _tried("load", lambda: ip.load(place, factory=entry.model))
        _same_bits(_outputs(again, inputs), expected, "loaded with a factory")
        found["by_name"] = _by_name(place)
        if found["by_name"]:
            again = _tried("load by name", lambda: ip.load(place))
            _same_bits(_outputs(again, inputs), expected, "loaded by name")


def _by_name(place: str) -> bool:
    from infoprune.artifact import read_config

    return read_config(place).architecture.source != "factory"


def _outputs(model: nn.Module, inputs: tuple) -> list[torch.Tensor]:
    torch.manual_seed(0)
    with torch.no_grad():
        return list(tensors_in(model(*copy.deepcopy(inputs))))


def _same_bits(found: list[torch.Tensor], expected: list[torch.Tensor], how: str) -> None:
    same = len(found) == len(expected) and all(
        torch.equal(a.nan_to_num(7e3), b.nan_to_num(7e3)) for a, b in zip(found, expected, strict=True)
    )
    if not same:
        raise Stage("WRONG", f"outputs are other bits when {how}")
