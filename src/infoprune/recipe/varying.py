"""A recipe with several values of some keys, one run each and all else alike: the ablations of a paper in one file.

    vary: {layer_importance.beta: [0, 1, 4], data.calibration: [64, 512]}      # five runs

Each key is varied by itself. Runs that train the same dense network share it.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from infoprune.errors import BadRecipe
from infoprune.finetune import Processes
from infoprune.recipe.display import Display
from infoprune.recipe.folder import Folder
from infoprune.recipe.reading import recipe_of, sections_in, set_in
from infoprune.recipe.results import DENSE
from infoprune.recipe.running import run
from infoprune.recipe.sections import Recipe
from infoprune.report.compare import Varied

VARY = "vary"


@dataclass(frozen=True)
class Variant:
    """The recipe with `value` for `key`."""

    key: str
    value: Any
    recipe: Recipe

    @property
    def name(self) -> str:
        return f"{self.key}={self.value}"


def read_variants(path: str | Path, changes: Sequence[str] = ()) -> list[Variant]:
    """The variants that a YAML file describes, with `changes` such as "finetune.epochs=1" in all of them."""
    sections = sections_in(Path(path), changes)
    vary = sections.pop(VARY, None)
    if not isinstance(vary, Mapping) or not vary or not all(isinstance(v, list) and v for v in vary.values()):
        raise BadRecipe(f"vary is {vary!r:.80}; give keys with lists of values: {{layer_importance.beta: [0, 1, 4]}}")
    return list(_variants(sections, vary))


def _variants(sections: Mapping[str, Any], vary: Mapping[str, Sequence[Any]]) -> Iterator[Variant]:
    for key, values in vary.items():
        for value in values:
            one = copy.deepcopy(dict(sections))
            set_in(one, f"{key}={value}")
            yield Variant(key, value, recipe_of(one))


def run_variants(variants: Sequence[Variant], out: Path, display: Display) -> list[Varied]:
    """Carry out each in a folder of its own under `out`; the same call goes on after an interruption."""
    runs: list[Varied] = []
    for variant in variants:
        place = out / variant.name
        lender = next((v for v in variants if _same_dense(v.recipe, variant.recipe)), variant)
        if lender is not variant:
            lend(out / lender.name, place, variant.recipe)
        display.say(f"{variant.name}: {place}")
        runs.append(Varied(variant.key, variant.value, run(variant.recipe, place, display=display)))
    return runs


def _same_dense(first: Recipe, second: Recipe) -> bool:
    """Whether both begin with the same dense network."""
    sections = [(r.model, replace(r.data, calibration=8, workers=0), r.finetune, r.seed) for r in (first, second)]
    return sections[0] == sections[1]


def lend(lender: Path, place: Path, recipe: Recipe) -> None:
    """The trained dense network, for a run that has none yet."""
    if not (lender / DENSE).is_file():
        return
    Folder.opened(place, recipe)
    if Processes.now().first and not (place / DENSE).is_file():
        shutil.copyfile(lender / DENSE, place / f"{DENSE}.partial")
        (place / f"{DENSE}.partial").rename(place / DENSE)
    Processes.now().wait()
