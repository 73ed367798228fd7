"""The formats that a model is written in: who writes it, who runs it, and who makes it 8-bit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch.export import ExportedProgram

from infoprune.export.onnx_files import require_onnx, write_onnx
from infoprune.export.openvino_files import require_openvino, write_openvino
from infoprune.export.programs import write_program
from infoprune.export.quantisers import Quantiser, by_nncf, by_onnxruntime, require_nncf
from infoprune.export.runtimes import Runtime, onnx_runtime, openvino_runtime, torch_runtime

Form = Literal["onnx", "torch.export", "openvino"]


@dataclass(frozen=True)
class Format:
    """`write` gives the operator set of what it wrote, where there is one; `require` raises MissingExtra."""

    form: Form
    write: Callable[[ExportedProgram, Path, str | None, int | None], int | None]
    run: Callable[[Path], Runtime]
    require: Callable[[], None] = lambda: None
    quantise: Quantiser | None = None
    require_quantiser: Callable[[], None] = lambda: None


FORMATS: Mapping[str, Format] = {
    ".onnx": Format("onnx", write_onnx, onnx_runtime, require_onnx, by_onnxruntime),
    ".pt2": Format("torch.export", write_program, torch_runtime),
    ".xml": Format("openvino", write_openvino, openvino_runtime, require_openvino, by_nncf, require_nncf),
}
