"""The verb `sensitivity`: what each layer's units are worth to the output, measured and kept."""

from __future__ import annotations

import argparse
import json
from typing import Any

import torch

from infoprune.cli.layer_weights import measured_curves
from infoprune.cli.output import Result, as_table, kept_if_unwritten
from infoprune.cli.progress import steps
from infoprune.cli.sections import asked
from infoprune.files import write_atomically
from infoprune.layerwise.curves import Curves
from infoprune.report.sensitivity import Moved, levels_of, page

PAGE, DATA = "sensitivity.html", "sensitivity.json"


def sensitivity_command(arguments: argparse.Namespace) -> Result:
    """Divergence of the outputs from the dense network's, layer by layer, against the share kept."""
    asks = asked(arguments)
    with steps(2) as step:
        step(f"building {asks.recipe.model.name}")
        model, evidence = asks.model, asks.evidence
        step("measuring layer by layer")
        curves = measured_curves(asks, evidence, arguments.levels, ignored=arguments.ignore)
        with torch.no_grad():
            measure = measure_of(model(asks.x))
    moved = _moved(curves)
    result = Result(_table(moved, measure), {"measure": measure, "sites": _data(moved)})
    if arguments.out is not None:
        with kept_if_unwritten(result):
            arguments.out.mkdir(parents=True, exist_ok=True)
            title = f"Sensitivity of {asks.recipe.model.name} on {asks.recipe.data.name}"
            write_atomically(arguments.out / PAGE, page(title, measure, moved).encode())
            write_atomically(arguments.out / DATA, json.dumps(result.data, indent=1).encode())
        return Result(f"{result.text}\npage  {arguments.out / PAGE}", result.data)
    return result


def measure_of(output: Any) -> str:
    """What is measured of outputs of this kind, as `curves` chooses it."""
    logits = getattr(output, "dim", lambda: 0)() == 2 and output.shape[1] > 1
    return "KL divergence (nats)" if logits else "relative error"


def _moved(curves: Curves) -> list[Moved]:
    return [Moved(site, size, tuple(curves.points(site))) for site, size in curves.sizes.items()]


def _data(moved: list[Moved]) -> list[dict[str, Any]]:
    return [
        {"site": one.site, "units": one.units, "points": [{"kept": a, "divergence": d} for a, d in one.points]}
        for one in moved
    ]


def _table(moved: list[Moved], measure: str) -> str:
    """In the network's order; the divergence at each share, and how the layer ranks at the smallest."""
    order = sorted(moved, key=lambda one: -one.worst)
    head = ["layer", "units", *(f"at {level}" for level in levels_of(moved)), "rank"]
    rows = [[o.site, o.units, *(f"{d:.4g}" for _, d in o.points), order.index(o) + 1] for o in moved]
    return f"{measure} from the dense network, by the share of a layer's units that stays\n{as_table([head, *rows])}"
