"""What measured layers weigh, measured once for a network and its data and kept for the next command."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from infoprune.budgets.latency import cache_directory
from infoprune.cli.sections import Request
from infoprune.layerwise import curves
from infoprune.layerwise.curve_files import at_levels, digest_of, load_curves, save_curves
from infoprune.layerwise.curves import LEVELS, Curves
from infoprune.observe.batches import read
from infoprune.recipe.evidence import Evidence

CURVES = "curves"


def layers_of(asks: Request, evidence: Evidence) -> Any:
    """What weighs layers; curves that were measured before are not measured again."""
    section, budget = asks.recipe.layer_importance, asks.recipe.budget
    if section.name != CURVES or budget is None or budget.rates is not None:
        return evidence.layers
    options = dict(section.options)
    levels = options.pop("levels", LEVELS)
    return measured_curves(asks, evidence, levels, ignored=budget.ignored_layers, utility=budget.utility, **options)


def measured_curves(
    asks: Request, evidence: Evidence, levels: Sequence[float], *, ignored: Sequence[str] = (), utility: float = -1.0,
    trust: float = 0.5, samples: int | None = None,
) -> Curves:  # fmt: skip
    """From the file of an earlier measurement that has these levels, or measured now and kept."""
    samples = asks.recipe.data.calibration if samples is None else samples
    batches, importance = list(read(evidence.loader())), asks.recipe.importance
    about = {
        "importance": [importance.name, dict(importance.options)], "ignored": list(ignored), "samples": samples
    }  # fmt: skip
    path = _place(digest_of(asks.model, batches, about))
    known = at_levels(load_curves(path), levels) if path.is_file() else None
    if known is None:
        shown = [batch.args[0] if batch.args else dict(batch.kwargs) for batch in batches]
        known = curves(
            asks.model, shown, evidence.importance, levels=tuple(levels), samples=samples, ignored_layers=ignored,
            progress=evidence.basis.progress,
        )  # fmt: skip
        path.parent.mkdir(parents=True, exist_ok=True)
        save_curves(known, path)
    return replace(known, utility=utility, trust=trust)


def _place(digest: str) -> Path:
    """Beside what latencies are kept in, on this machine."""
    return cache_directory().with_name(CURVES) / f"{digest}.safetensors"
