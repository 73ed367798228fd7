"""torch-kirigami on the same models: as it comes, and with activations that don't write into their input."""

from __future__ import annotations

import copy
import tempfile
import time
from typing import Any

import independent_mask
import torch
from independent_mask import NotComparable, ShapesDiffer, tensors_in
from torch import nn

from third_party.entry import Entry

KEEP = 0.5  # of the parameters: the one resource that it has budgets for
RATIO = 0.3  # of every width, where that can't be reached: what stock torch-pruning is asked for


class Ended(Exception):
    """What kept a model from being pruned: (outcome, reason)."""


def row(entry: Entry, *, in_place: bool) -> dict[str, Any]:
    """Whether the network runs after L2 magnitude pruning to half of its parameters, or else to 70 % of all widths;
    what the plan promised and what was counted; whether its checkpoint gives the same bits, a mask the same network."""
    began, found = time.process_time(), {}
    try:
        _checked(entry, in_place, found)
    except Ended as ended:
        found["outcome"], found["reason"] = ended.args
    return {**found, "made_cpu_s": round(found.get("made_cpu_s", time.process_time() - began), 2)}


def writes_in_place(model: nn.Module) -> bool:
    return any(getattr(module, "inplace", False) is True for module in model.modules())


def made(entry: Entry, in_place: bool) -> nn.Module:
    model = entry.model()
    for module in [] if in_place else model.modules():
        if getattr(module, "inplace", False) is True:
            module.inplace = False  # type: ignore[assignment]
    return model


def _checked(entry: Entry, in_place: bool, found: dict[str, Any]) -> None:
    from torch_kirigami.pruning import Pruner

    import infoprune as ip

    model, inputs = made(entry, in_place), entry.inputs(entry.batches[0])
    dense = ip.measure(model, inputs)
    with torch.no_grad():
        expected = [t.shape for t in tensors_in(model(*copy.deepcopy(inputs)))]
    began = time.process_time()
    plan = _planned(model, inputs, found)
    _tried("prune", lambda: Pruner(model).apply(plan))
    found["made_cpu_s"] = time.process_time() - began
    outputs = _tried("forward", lambda: _outputs(model, inputs))
    if [t.shape for t in outputs] != expected:
        raise Ended("runs with other output shapes", "")
    counted = ip.measure(model, inputs)
    found.update(outcome="runs", keep=counted.macs / dense.macs, params_keep=counted.params / dense.params)
    if found["asked"] == "params":
        found["promised"], found["counted"] = plan.selection_report.after_params, counted.params
    found["reload"] = _reloaded(entry, in_place, model, inputs, outputs)
    found["mask"] = _masked(entry, in_place, plan)


def _planned(model: nn.Module, inputs: tuple, found: dict[str, Any]) -> Any:
    """For half of the parameters, or else for 70 % of all widths; `asked` says which."""
    from torch_kirigami import DependencyGraph
    from torch_kirigami.pruning import ChannelRatio, Greedy, GroupMagnitude, ParameterBudget, PlanningError, Pruner

    graph = _tried("graph", lambda: DependencyGraph.build(model, args=copy.deepcopy(inputs)))
    pruner = Pruner(model, graph=graph)
    space = _tried("candidates", pruner.discover_candidates)
    params = sum(parameter.numel() for parameter in model.parameters())
    strategy = Greedy(GroupMagnitude(p=2))
    try:
        found["asked"] = "params"
        return pruner.plan(space, budget=ParameterBudget(max_params=int(KEEP * params)), strategy=strategy)
    except PlanningError:
        found["asked"] = "ratio"
        return _tried("plan", lambda: pruner.plan(space, budget=ChannelRatio(RATIO), strategy=strategy))


def _tried(stage: str, action: Any) -> Any:
    """What `action` gives; an error that it declares is a refusal before anything was touched, unless it ran on."""
    from torch_kirigami import KirigamiError

    try:
        return action()
    except KirigamiError as error:
        raise Ended("refused", f"{stage}: {type(error).__name__}: {str(error)[:240]}") from error
    except Exception as error:
        raise Ended(f"{stage} fails", f"{type(error).__name__}: {str(error)[:240]}") from error


def _outputs(model: nn.Module, inputs: tuple) -> list[torch.Tensor]:
    torch.manual_seed(0)
    with torch.no_grad():
        return list(tensors_in(model.eval()(*copy.deepcopy(inputs))))


def _reloaded(entry: Entry, in_place: bool, model: nn.Module, inputs: tuple, expected: list[torch.Tensor]) -> str:
    """ "same bits" from its checkpoint and the model's own code, or what came instead."""
    from torch_kirigami.pruning import load_checkpoint, save_checkpoint

    with tempfile.TemporaryDirectory() as folder:
        try:
            save_checkpoint(model, f"{folder}/compact.pt")
            again = _outputs(load_checkpoint(made(entry, in_place), f"{folder}/compact.pt"), inputs)
        except Exception as error:
            return f"{type(error).__name__}: {str(error)[:160]}"
    same = all(torch.equal(a.nan_to_num(7e3), b.nan_to_num(7e3)) for a, b in zip(again, expected, strict=True))
    return "same bits" if same else "other bits"


def _masked(entry: Entry, in_place: bool, plan: Any) -> str | float:
    """How far the pruned network is from the masked one, in double precision, or why that can't be told."""
    from torch_kirigami.pruning import Pruner

    try:
        dense, pruned = (_distinct(made(entry, in_place)) for _ in range(2))
        Pruner(pruned).apply(plan)
        compared = independent_mask.compare(dense.double(), pruned.double(), entry.inputs(entry.batches[0]))
    except (NotComparable, ShapesDiffer) as error:
        return str(error)[:160]
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:160]}"
    return compared.relative


def _distinct(model: nn.Module) -> nn.Module:
    """Weights of which no two are alike, in single precision, for which the plan was made."""
    independent_mask.distinct(model).float()
    with torch.no_grad():
        for tensor in model.parameters():
            flat = tensor.flatten()
            while len(flat.unique()) < len(flat):
                values, order = flat.sort()
                again = values[1:] == values[:-1]
                values[1:][again] = values[1:][again].nextafter(torch.tensor(torch.inf))
                flat[order] = values
            tensor.copy_(flat.view_as(tensor))
    return model
