"""The networks of a run as files for runtimes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import nn

from infoprune.export import SAMPLES, Running, export, onnx_runtime
from infoprune.observe import kept_randomness
from infoprune.recipe.evidence import first_of
from infoprune.recipe.results import Results
from infoprune.recipe.task_kinds import KINDS

EXPORTED = "model.onnx"
DENSE_INT8, PRUNED_INT8 = "dense-int8", "int8"  # phases that are judged and not trained
INT8 = {DENSE_INT8: "dense-int8.onnx", PRUNED_INT8: "model-int8.onnx"}


def write_files(results: Results, say: Callable[[str], None]) -> None:
    """What the recipe's export asks for and is not there yet."""
    section, folder = results.recipe.export, results.folder
    if section is None:
        return
    if not folder.has(EXPORTED):
        say(str(export(results.final().cpu(), results.x, folder.path / EXPORTED)))
    networks: dict[str, Callable[[], nn.Module]] = {DENSE_INT8: results.dense, PRUNED_INT8: results.final}
    for phase, network in networks.items() if section.int8 else ():
        if not folder.has(INT8[phase]):
            with kept_randomness():
                loader = KINDS[results.task.kind].calibration(first_of(results.recipe, results.task, SAMPLES))
                say(str(export(network().cpu(), results.x, folder.path / INT8[phase], int8=loader)))


def judged_files(results: Results) -> dict[str, Path]:
    """phase -> the int8 file that is judged like a network: where pictures are named, and all of it is one program."""
    recipe = results.recipe
    if recipe.export is None or not recipe.export.int8 or recipe.split or not KINDS[results.task.kind].named:
        return {}
    return {phase: results.folder.path / name for phase, name in INT8.items()}


def running(path: Path) -> nn.Module:
    return Running(onnx_runtime(path))
