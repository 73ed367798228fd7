"""export(): a model as ONNX or as a torch.export program, compared with the model before it is kept."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from infoprune.errors import ExportFailed
from infoprune.export.comparing import differences_of
from infoprune.export.onnx_files import require_onnx, write_onnx
from infoprune.export.programs import program_of, write_program
from infoprune.export.runtimes import onnx_runtime, torch_runtime
from infoprune.files import replacing
from infoprune.graph.arguments import Arguments
from infoprune.graph.evaluating import evaluating
from infoprune.graph.wrappers import bare
from infoprune.require import require_model, require_path

Form = Literal["onnx", "torch.export"]
FORMS: Mapping[str, Form] = {".onnx": "onnx", ".pt2": "torch.export"}
BATCHES = (1, 3)  # one below and one above the batch of two that is traced
TOLERANCE = 1e-4  # of the largest output: single precision in another order of operations stays a hundred times below


@dataclass(frozen=True)
class Exported:
    """What was written and how it compares with the model.

    `batch` is the name of the axis that is free, None where the model fixes it; `differences` holds, for each batch
    size that was tried, the largest difference as a fraction of the largest output, and `scale` that output. Where it
    is 0, as behind a head that starts at zero, nothing was compared.
    """

    path: Path
    form: Form
    opset: int | None
    batch: str | None
    differences: Mapping[int, float]
    scale: float

    def __str__(self) -> str:
        opset = "" if self.opset is None else f", opset {self.opset}"
        told = ", ".join(f"{difference:.1e} at batch {size}" for size, difference in self.differences.items())
        how = f"differs by {told}" if self.scale else "all outputs are zero, so nothing was compared"
        return f"{self.path}: {self.form}{opset}, {'free' if self.batch else 'fixed'} batch; {how}"


def export(
    model: nn.Module, example_inputs: Any, path: str | os.PathLike[str], *, opset: int | None = None
) -> Exported:
    """Write `model` to `path`: ONNX for `.onnx`, a torch.export program for `.pt2`.

    The batch axis is left free where the model allows it. The file is run (by ONNX Runtime, or torch) on random
    inputs at two batch sizes, and kept only if its outputs are the model's up to 1e-4 of the largest one;
    otherwise ExportFailed says how far off they are and what was at `path` stays. Outputs come flat, in the
    model's order. The model is exported in evaluation mode and left as it was.
    """
    require_model(model)
    require_path(path, "path", "of the file")
    target = Path(path)
    form = FORMS.get(target.suffix)
    if form is None:
        raise ValueError(f"path ends in {target.suffix!r}; end it in .onnx or, for torch.export, .pt2")
    if opset is not None and form != "onnx":
        raise ValueError(f"opset is {opset}, and {target.name} is not ONNX; leave it out or end the path in .onnx")
    if form == "onnx":
        require_onnx()
    model, inputs = bare(model), Arguments.of(example_inputs)
    with evaluating(model), torch.no_grad(), tempfile.TemporaryDirectory() as scratch:
        program, batch = program_of(model, inputs)
        draft = Path(scratch) / target.name
        found_opset = write_onnx(program, draft, batch, opset) if form == "onnx" else write_program(program, draft)
        runtime = onnx_runtime(draft) if form == "onnx" else torch_runtime(draft)
        differences, scale = differences_of(model, inputs, runtime, BATCHES if batch else (None,))
        _require_equal(differences, target)
        _keep(Path(scratch), target)
    return Exported(target, form, found_opset, batch, differences, scale)


def _require_equal(differences: Mapping[int, float], target: Path) -> None:
    bad = {size: difference for size, difference in differences.items() if not difference <= TOLERANCE}
    if bad:
        size, difference = next(iter(bad.items()))
        raise ExportFailed(
            f"the exported model differs from the model by {difference:.1e} of the largest output at batch {size}, "
            f"more than {TOLERANCE:g}; {target.name} was not written, try another opset or form"
        )


def _keep(scratch: Path, target: Path) -> None:
    """Everything that was written, put beside each other at `target`; the named file last."""
    target.parent.mkdir(parents=True, exist_ok=True)
    for file in sorted(scratch.iterdir(), key=lambda file: file.name == target.name):
        with replacing(target.with_name(file.name)) as draft:
            shutil.copyfile(file, draft)
