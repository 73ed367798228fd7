"""export(): a model as a file for a runtime, in single precision or 8-bit, compared before it is kept."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from infoprune.errors import ExportFailed
from infoprune.export.comparing import differences_of
from infoprune.export.formats import FORMATS, Form, Format
from infoprune.export.int8 import Quantised, Samples, quantised
from infoprune.export.programs import program_of
from infoprune.files import remove, replacing
from infoprune.graph.arguments import Arguments
from infoprune.graph.evaluating import evaluating
from infoprune.graph.wrappers import bare, require_whole
from infoprune.require import require_model, require_path, require_values

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
    int8: Quantised | None = None

    def __str__(self) -> str:
        opset = "" if self.opset is None else f", opset {self.opset}"
        gaps = ", ".join(f"{difference:.1e} at batch {size}" for size, difference in self.differences.items())
        how = f"differs by {gaps}" if self.scale else "all outputs are zero, so nothing was compared"
        before = "" if self.int8 is None else "before int8 it "
        first = f"{self.path}: {self.form}{opset}, {'free' if self.batch else 'fixed'} batch; {before}{how}"
        return first if self.int8 is None else f"{first}\n{self.int8}"


def export(
    model: nn.Module,
    example_inputs: Any,
    path: str | os.PathLike[str],
    *,
    opset: int | None = None,
    int8: Iterable[Any] | None = None,
) -> Exported:
    """Write `model` as a file that other runtimes read, and check what the file computes.

    The batch axis is left free where the model allows it. The file is run (by ONNX Runtime, OpenVINO or torch) on
    random inputs at two batch sizes, and kept only if its outputs are the model's up to 1e-4 of the largest one;
    otherwise ExportFailed says how far off they are and what was at `path` stays. Outputs come flat, in the
    model's order. The model is exported in evaluation mode and left as it was.

    With `int8` what was found equal is then quantised (`.onnx` by ONNX Runtime, `.xml` by NNCF), with ranges from about
    half of the first 512 samples, and `path` holds the 8-bit model. How it answers on the other half, and how long it
    takes beside the one in single precision, is told as `Exported.int8`.

    Args:
        model: The network, pruned or not.
        example_inputs: What its forward takes.
        path: Ends in `.onnx` for ONNX, in `.xml` for OpenVINO's format or in `.pt2` for a torch.export program.
        opset: Of ONNX; by default that of the exporter.
        int8: A loader of samples.
    """
    require_model(model)
    require_path(path, "path", "of the file")
    target = Path(path)
    how = _format_of(target, opset, int8)
    model, inputs = bare(model), Arguments.of(example_inputs)
    require_whole(model)
    require_values(model, "to write")
    samples = None if int8 is None else Samples.of(int8, inputs)
    with evaluating(model), torch.no_grad(), tempfile.TemporaryDirectory() as scratch:
        program, batch = program_of(model, inputs)
        if samples is not None and batch is None:
            raise ExportFailed("int8 needs a free batch, and the model's own code fixes it; leave int8 out")
        draft = _draft(scratch, "float32", target)
        actual_opset = how.write(program, draft, batch, opset)
        differences, scale = differences_of(model, inputs, how.run(draft), BATCHES if batch else (None,))
        _require_equal(differences, target)
        comparison = None
        if samples is not None:
            whole, draft = draft, _draft(scratch, "int8", target)
            comparison = quantised(model, samples, how, whole, draft)
        _keep(draft.parent, target)
    return Exported(target, how.form, actual_opset, batch, differences, scale, comparison)


def _format_of(target: Path, opset: int | None, int8: object) -> Format:
    """How to write the path, once it is known that this can be done."""
    how = FORMATS.get(target.suffix)
    if how is None:
        raise ValueError(f"path ends in {target.suffix!r}; end it in .onnx, .xml for OpenVINO or .pt2 for torch.export")
    if opset is not None and how.form != "onnx":
        raise ValueError(f"opset is {opset}, and {target.name} is not ONNX; leave it out or end the path in .onnx")
    how.require()
    if int8 is None:
        return how
    if not isinstance(int8, Iterable):
        raise TypeError(f"int8 is {int8!r:.60}; give the loader of samples that ranges are taken from")
    if how.quantise is None:
        raise ValueError(f"int8 was asked for, and {target.name} is not quantised here; end the path in .onnx or .xml")
    how.require_quantiser()
    return how


def _draft(scratch: str, kind: str, target: Path) -> Path:
    folder = Path(scratch, kind)
    folder.mkdir()
    return folder / target.name


def _require_equal(differences: Mapping[int, float], target: Path) -> None:
    bad = {size: difference for size, difference in differences.items() if not difference <= TOLERANCE}
    if bad:
        size, difference = next(iter(bad.items()))
        raise ExportFailed(
            f"the exported model differs from the model by {difference:.1e} of the largest output at batch {size}, "
            f"more than {TOLERANCE:g}; {target.name} was not written, try another opset or form"
        )


def _keep(folder: Path, target: Path) -> None:
    """Everything that was written, put beside each other at `target`; the named file last.

    Where there are several, what was there under that name goes first: a kill leaves all of the new or no such file.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    files = sorted(folder.iterdir(), key=lambda file: file.name != target.name)
    with ExitStack() as last_first:
        for file in files:
            shutil.copyfile(file, last_first.enter_context(replacing(target.with_name(file.name))))
        if len(files) > 1:
            remove(target)
